"""Files of torch.save from outside: what they would cost is known before they are loaded.

`torch.load` with `weights_only` runs no code, but a file of a few hundred bytes can still
make it take any amount of memory: it inflates what is compressed, and it makes byte arrays
of any length. torch writes neither.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from tabweave.errors import ArtifactError, shorten

MAX_PICKLE = 256 * 2**20
MAX_VALUES, MAX_DEPTH = 1_000_000, 40
_SCALARS = (type(None), bool, int, float, str)
_NAMES = {
    "collections": {"OrderedDict"},
    "torch._utils": {"_rebuild_tensor_v2", "_rebuild_parameter"},
    "torch": {"Size", "device"},
}


def load_archive(path: Path, whole: Path | None = None) -> Any:
    """Tensors and plain values that `torch.save` has written to a file.

    Args:
        path: The file.
        whole: What it is a part of, for messages.

    Raises:
        ArtifactError: The file is missing, damaged, compressed, or asks for anything but
            tensors, plain values and containers of a bounded number of them.
    """
    try:
        with open(path, "rb") as file:
            check_archive(file)
        found = torch.load(path, map_location="cpu", weights_only=True)
        _check_values(found)
    # torch raises dozens of kinds of errors, all of which mean the same.
    except Exception as error:
        reason = str(error).partition("\n")[0][:300]
        raise ArtifactError(
            f"{whole or path} is not a whole checkpoint: {reason}"
        ) from error
    return found


def check_archive(file: IO[bytes]) -> None:
    """Looks through an archive of `torch.save` without loading it.

    Raises:
        ValueError: It would unfold to more than it is, or names what no checkpoint needs.
        zipfile.BadZipFile: It is no archive.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = file.seek(0, 2)
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise ValueError("it holds compressed parts, which torch does not write")
        # Parts that overlap would be read once each.
        if sum(one.file_size for one in members) > size:
            raise ValueError(f"its parts unfold to more than its {size:,} bytes")
        programs = [one for one in members if one.filename.endswith("data.pkl")]
        if not programs:
            raise ValueError("it has no table of contents, so torch did not write it")
        for one in programs:
            _check_program(archive.read(one))


def _check_program(program: bytes) -> None:
    if len(program) > MAX_PICKLE:
        raise ValueError(f"its table of contents has {len(program):,} bytes")
    for operation, argument, _ in pickletools.genops(program):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if not _is_needed(module, name):
                raise ValueError(f"it names {shorten(f'{module}.{name}')}")
        elif operation.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"):
            raise ValueError(f"it uses {operation.name}, which torch does not write")


def _is_needed(module: str, name: str) -> bool:
    if name in _NAMES.get(module, ()):
        return True
    # Kinds of numbers and of storages: torch.float32, torch.FloatStorage.
    return module == "torch" and (
        name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)
    )


def _check_values(value: Any) -> None:
    """A value may stand in several places; each of them counts."""
    waiting, count = [(value, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply, or repeats its parts too often")
        if isinstance(each, Tensor):
            _check_tensor(each)
        elif isinstance(each, Mapping):
            waiting += [(part, depth + 1) for pair in each.items() for part in pair]
        elif isinstance(each, list | tuple):
            waiting += [(part, depth + 1) for part in each]
        elif not isinstance(each, (*_SCALARS, torch.dtype, torch.device)):
            raise ValueError(f"it holds a value of type {type(each).__name__}")


def _check_tensor(value: Tensor) -> None:
    if value.layout != torch.strided or value.device.type != "cpu":
        raise ValueError(f"it holds a tensor of layout {value.layout}, {value.device}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(
            f"a tensor of shape {shorten(tuple(value.shape))} repeats fewer numbers"
        )
