"""Models: plain ``nn.Module`` parts and the classifier that composes them.

Names are imported when they are used, so that reading a configuration needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "Classifier": "classifier",
    "ModelConfig": "config",
    "ModelSpec": "config",
    "build_model": "registry",
    "load_model": "registry",
    "save_model": "registry",
}

__all__ = [
    "Classifier",
    "ModelConfig",
    "ModelSpec",
    "build_model",
    "load_model",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        module = importlib.import_module(f"{__name__}.{_EXPORTS[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
