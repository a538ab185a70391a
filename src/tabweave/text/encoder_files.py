"""Digests of what a pretrained encoder is made of, so that a later stage can compare."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tabweave.artifacts import content_hash
from tabweave.text.config import SCRATCH

CONFIG, WEIGHTS = "config.json", "*.safetensors"


def tokenizer_digest(tokenizer_json: str) -> str:
    """sha256 of the text of a tokenizer.json."""
    return hashlib.sha256(tokenizer_json.encode()).hexdigest()


def encoder_digest(encoder: str) -> str | None:
    """sha256 over config.json and the weights of a folder, their names included.

    None for scratch and for a hub id. Without weights, as the text stage allows, the
    digest is that of the files that are there.
    """
    folder = Path(encoder).expanduser()
    if encoder == SCRATCH or not folder.is_dir():
        return None
    total = hashlib.sha256()
    for file in [*folder.glob(CONFIG), *sorted(folder.glob(WEIGHTS))]:
        total.update(f"{file.name}\0{content_hash(file)}\n".encode())
    return total.hexdigest()
