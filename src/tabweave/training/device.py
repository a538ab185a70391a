"""Where a training computes, and in which arithmetic."""

from __future__ import annotations

import torch

from tabweave.errors import TrainingError

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def training_device() -> torch.device:
    """Where Lightning trains: on the accelerator that PyTorch finds, else on the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def hardware_precision() -> str:
    """bf16-mixed where the hardware multiplies bf16 matrices, else 32-true."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # Emulated bf16 is slower than fp32: ask for the instructions themselves.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def chosen_precision(asked: str) -> str:
    """The arithmetic of a training that asks for one, or for `auto`.

    Raises:
        TrainingError: It needs a GPU, and there is none.
    """
    if asked == "16-mixed" and not torch.accelerator.is_available():
        # Lightning would take bf16 instead, with a warning.
        raise TrainingError(
            "training.precision is 16-mixed, which needs a GPU, and there is none. Take "
            "auto, bf16-mixed or 32-true."
        )
    return hardware_precision() if asked == "auto" else asked
