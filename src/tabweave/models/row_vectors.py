"""Vectors of rows that a frozen text encoder gives: computed once, kept in files.

A frozen encoder says the same of a row in every epoch. Its vectors are computed in fp32
and mapped from a file; training then runs the small layers on top only.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from tabweave.batching.batches import Rows, TokenColumn
from tabweave.models.classifier import Classifier
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.storage.artifacts import write_bytes

ROWS_AT_ONCE = 64
OWN_NAME = re.compile(r"[0-9a-f]{64}\.npy")


def vectors_key(
    encoder: TextEncoder, config: dict[str, object], text: TokenColumn
) -> str:
    """Changes with the encoder, its pooling, the tokenizer, the cleaning and the text.

    The last three are all in the token ids.
    """
    found = hashlib.sha256(json.dumps([config, encoder.pooling]).encode())
    for name, value in sorted(encoder.state_dict().items()):
        if name != "missing":  # it is trained, and is not in the vectors
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
    for values in (text.row_offsets, text.chunk_offsets, text.tokens):
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()


def frozen_rows(
    model: Classifier, splits: tuple[Rows, ...], folder: Path
) -> tuple[Rows, ...]:
    """The rows, with vectors in place of the text fields whose encoder is frozen.

    A fusion that reads token states needs the tokens, so its rows stay as they are.
    Vectors in `folder` that belong to other runs are removed.
    """
    frozen = [n for n, encoder in enumerate(model.text_encoders) if encoder.frozen]
    if not frozen or model.fusion.reads_states:
        return splits
    found = tuple(
        rows.with_vectors(
            {rows.fields[n]: _row_vectors(model, rows, n, folder) for n in frozen}
        )
        for rows in splits
    )
    used = {path for rows in found for path in rows.vector_files.values()}
    for path in folder.iterdir():
        if OWN_NAME.fullmatch(path.name) and path not in used:
            path.unlink()
    return found


def _row_vectors(model: Classifier, rows: Rows, number: int, folder: Path) -> Path:
    encoder, text = model.text_encoders[number], rows.columns[number]
    key = vectors_key(encoder, model.spec.text[number].encoder, text)
    path = folder / f"{key}.npy"
    if not _is_whole(path, len(rows), encoder.width):
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, lambda file: _write(encoder, text, len(rows), file))
    return path


def _is_whole(path: Path, rows: int, width: int) -> bool:
    """Whether a file holds so many vectors; a damaged one is written anew."""
    try:
        return np.load(path, mmap_mode="r").shape == (rows, width)
    except (OSError, EOFError, ValueError):
        return False


def _write(encoder: TextEncoder, text: TokenColumn, rows: int, file: BinaryIO) -> None:
    """Row after row: packed batches hold no padding, so sorting would gain nothing."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, encoder.width)}
    np.lib.format.write_array_header_2_0(file, shape)
    device = encoder.missing.device
    encoder.eval()  # it is frozen, and stays so
    with torch.inference_mode():
        for at in range(0, rows, ROWS_AT_ONCE):
            packed = text.gather(np.arange(at, min(at + ROWS_AT_ONCE, rows)))
            vectors = encoder(packed.to(device)).vectors
            file.write(vectors.cpu().numpy().astype("<f4").tobytes())
