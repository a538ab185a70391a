"""Digests of what a pretrained encoder is made of, so that a later stage can compare."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tabweave.storage.artifacts import content_hash
from tabweave.text.config import SCRATCH

CONFIG, WEIGHTS, ADAPTER = "config.json", "*.safetensors", "adapter_model.safetensors"
POINTER = b"version https://git-lfs"


def tokenizer_digest(tokenizer_json: str) -> str:
    """sha256 of the text of a tokenizer.json."""
    return hashlib.sha256(tokenizer_json.encode()).hexdigest()


def encoder_fault(folder: Path) -> str:
    """What a folder lacks to be a text encoder that is trained, with the way out.

    A tokenizer alone is no fault of a folder whose tokens another encoder takes: who asks
    wants the weights.

    Example:
        >>> encoder_fault(Path("/nowhere"))[:28]
        'there is no config.json in i'
    """
    for file in (folder / CONFIG, folder / "tokenizer.json", *folder.glob(WEIGHTS)):
        if file.is_file() and _is_pointer(file):
            return (
                f"{file.name} is a pointer of Git LFS and not the file itself: run `git "
                "lfs pull` where the folder was cloned"
            )
    weights = {file.name for file in folder.glob(WEIGHTS)} - {ADAPTER}
    if not weights and (folder / "adapter_config.json").is_file():
        return (
            "it holds adapters and not the encoder that they belong to: merge them into it "
            "(merge_and_unload of peft) and save that one"
        )
    pickled = sorted(file.name for file in folder.glob("pytorch_model*.bin"))
    if not weights and pickled:
        return (
            f"it holds {pickled[0]}, a pickle, which is not read because it could run "
            "code: save the model as safetensors (save_pretrained of transformers does)"
        )
    lacks = "" if weights else "there are no weights (model.safetensors) in it"
    if not (folder / CONFIG).is_file():
        lacks = "there is no config.json in it"
    return lacks and (
        f"{lacks}; give a folder with config.json, model.safetensors and tokenizer.json, a "
        "hub id, or scratch"
    )


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(POINTER)) == POINTER


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
