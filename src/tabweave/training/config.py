"""How a model is trained. Needs no torch: parameters are checked before it is imported."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tabweave.schema import Parameters

# Chosen by runs on the demo and on product reviews, not copied from a paper: a small
# encoder that starts from nothing needs a far higher rate than a pretrained one.
SCRATCH_RATE, PRETRAINED_RATE = 5e-4, 1e-4


class TrainingConfig(Parameters):
    """Parameter group ``training``: optimizer, schedule, stopping and precision."""

    batch_size: PositiveInt = 32
    """Rows per step."""
    max_epochs: PositiveInt = 3
    """Passes over the train split at most."""
    lr: PositiveFloat | None = None
    """Learning rate of the text encoders; None takes 1e-4, or 5e-4 from scratch."""
    head_lr: PositiveFloat = 3e-3
    """Learning rate of everything else: table encoder, fusion and head."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW weight decay; biases and norms have none."""
    adam_epsilon: PositiveFloat = 1e-8
    """Epsilon of AdamW."""
    run_scheduler: bool = True
    """Linear decay to 0 after the warm-up; False keeps the rate constant."""
    warmup_steps: NonNegativeInt | None = None
    """Steps of linear warm-up; None takes warmup_fraction of all steps."""
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of all steps that warm up, when warmup_steps is not set."""
    class_weights: tuple[PositiveFloat, ...] | Literal["balanced"] | None = None
    """Weight of each class in the loss, in class order; "balanced" = 1 / frequency."""
    gradient_clip_val: NonNegativeFloat = 1.0
    """Largest gradient norm; 0 does not clip."""
    early_stop_metric: str = "val/auroc"
    """Metric that picks the best checkpoint and stops training; val/loss also works."""
    early_stop_patience: PositiveInt = 3
    """Epochs without a better value before training stops."""
    val_check_interval: PositiveFloat = 0.5
    """Validation every so much of an epoch (<= 1), or every so many batches (> 1)."""
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    """Arithmetic of training; auto takes bf16-mixed where the hardware has it."""
    threads: PositiveInt | None = None
    """Compute threads; None takes what torch takes."""
    seed: int = Field(42, ge=0, lt=2**32)
    """Seed of initial weights, data order and dropout."""
    log_every_n_steps: PositiveInt = 10
    """Steps between two points of the training curves."""

    @model_validator(mode="after")
    def _interval_is_whole_beyond_one(self) -> Self:
        if self.val_check_interval > 1 and self.val_check_interval % 1:
            raise ValueError(
                f"val_check_interval {self.val_check_interval} is more than 1, so it "
                "counts batches and must be a whole number; for several epochs give "
                "the number of their batches"
            )
        return self

    def encoder_rate(self, *, scratch: bool) -> float:
        """Learning rate of a text encoder that starts from nothing, or pretrained."""
        return self.lr or (SCRATCH_RATE if scratch else PRETRAINED_RATE)

    def batches_between_checks(self, batches: int) -> int:
        """Batches between two validations in an epoch of so many batches."""
        if self.val_check_interval > 1:
            return int(self.val_check_interval)
        return max(1, int(batches * self.val_check_interval))

    def patience_in_checks(self, batches: int) -> int:
        """Early stopping counts validations; the user counts epochs."""
        # Every epoch starts counting anew: 10 batches, checked every 6, is one check.
        per_epoch = batches // self.batches_between_checks(batches)
        return self.early_stop_patience * max(1, per_epoch)

    def warmup(self, total_steps: int) -> int:
        """Steps of linear warm-up out of so many."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return round(total_steps * self.warmup_fraction)
