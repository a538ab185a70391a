"""How a model is trained. Needs no torch: parameters are checked before it is imported."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tabweave.errors import shorten
from tabweave.schema import Parameters, contradiction

# Chosen by runs on the demo and on product reviews, not copied from a paper: a small
# encoder that starts from nothing needs a far higher rate than a pretrained one.
SCRATCH_RATE, PRETRAINED_RATE = 5e-4, 1e-4


LAST_PORT, MOST_PROCESSES, MOST_MACHINES = 65_535, 1024, 65_536

LOWER_IS_BETTER = ("val/loss",)
"""Of what a validation gives, the values that are better when smaller."""


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one.

    Example:
        >>> lower_is_better("val/loss"), lower_is_better("val/average_precision/loss")
        (True, False)
    """
    return metric in LOWER_IS_BETTER


def endpoint(text: str) -> str:
    """The text, where it is HOST:PORT.

    Raises:
        ValueError: It is not.
    """
    host, _, port = text.rpartition(":")
    fits = port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= LAST_PORT
    if not fits or not re.fullmatch(r"[^\s:/]+", host):
        raise ValueError(
            f"{shorten(text)} is not HOST:PORT, such as 10.0.0.5:29500; a port is a number "
            f"from 1 to {LAST_PORT}"
        )
    return text


class FsdpConfig(Parameters):
    """Parameter group ``training.fsdp``: what `strategy: fsdp` splits among processes."""

    sharding: Literal["full", "grad_op", "none"] = "full"
    """Split: weights, gradients and optimizer; all but gathered weights; or none: DDP."""
    cpu_offload: bool = False
    """Keep the shards in host memory while a GPU does not compute with them."""
    sharded_checkpoints: bool = False
    """Every process writes its part of last.ckpt, which is a folder then."""


class TrainingConfig(Parameters):
    """Parameter group ``training``: optimizer, schedule, stopping and precision."""

    OF_THE_RUN = frozenset(
        {
            "checkpoint_every_n_steps",
            "num_workers",
            "rendezvous",
            "resume",
            "timeout_s",
        }
    )

    batch_size: PositiveInt = 32
    """Rows of a batch at most."""
    max_tokens_per_batch: PositiveInt | None = None
    """Tokens of a batch at most; a longer row is a batch of its own; None has no limit."""
    accumulate_grad_batches: PositiveInt = 1
    """Batches per step of the optimizer; their rows weigh alike, as in one large batch."""
    batching: Literal["packed", "padded", "bucketed"] = "packed"
    """Layout of text: no padding, padded, or padded in batches of similar length."""
    max_epochs: PositiveInt = 3
    """Passes over the train split at most."""
    max_steps: PositiveInt | None = None
    """Steps of the optimizer at most; the last one is validated; None has no limit."""
    optimizer: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    """Kind of optimizer."""
    lr: PositiveFloat | None = None
    """Learning rate of the text encoders; None takes 1e-4, or 5e-4 from scratch."""
    head_lr: PositiveFloat = 3e-3
    """Learning rate of everything else: table encoder, fusion and head."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Learning rate of an encoder layer by that of the layer above; None: all alike."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay (Adam, SGD: L2 penalty); biases, norms, learned vectors have none."""
    adam_epsilon: PositiveFloat = 1e-8
    """Epsilon of Adam and AdamW."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    run_scheduler: bool = True
    """Linear decay to 0 after the warm-up; False keeps the rate, but for lr_decay."""
    lr_decay: float | None = Field(None, ge=0, lt=1)
    """Rate lost per epoch, as a fraction, without a scheduler; None loses none."""
    warmup_steps: NonNegativeInt | None = None
    """Steps of linear warm-up; None takes warmup_fraction of all steps."""
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of all steps that warm up, when warmup_steps is not set."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Training loss; focal cares less about rows that are already right."""
    focal_gamma: NonNegativeFloat = 2.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    class_weights: tuple[PositiveFloat, ...] | Literal["balanced"] | None = None
    """Weight of each class in the loss, in class order; "balanced" = 1 / frequency."""
    gradient_clip_val: NonNegativeFloat = 1.0
    """Largest gradient norm; 0 does not clip."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Decay per step of averaged weights, which are validated and kept; None: none."""
    early_stop_metric: str = "val/auroc"
    """Metric that picks the best checkpoint and stops training; val/loss also works."""
    early_stop_patience: PositiveInt = 3
    """Epochs without a better value before training stops."""
    save_top_k: PositiveInt = 1
    """Best checkpoints to keep; best.ckpt links the best one."""
    val_check_interval: PositiveFloat = 0.5
    """Validation every so much of an epoch (<= 1), or every so many batches (> 1)."""
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    """Arithmetic of training; auto takes bf16-mixed where the hardware has it."""
    threads: int | None = Field(None, ge=1, le=MOST_PROCESSES)
    """Compute threads; None takes what torch takes."""
    seed: int = Field(42, ge=0, lt=2**32)
    """Seed of initial weights, data order and dropout."""
    log_every_n_steps: PositiveInt = 10
    """Steps between two points of the training curves."""
    num_workers: int = Field(0, ge=0, le=MOST_PROCESSES)
    """Processes that read batches ahead; 0 reads them in the training process."""
    resume: Literal["never", "auto", "required"] = "never"
    """Go on from last.ckpt: if it is of this very training, or fail if it is not."""
    checkpoint_every_n_steps: PositiveInt | None = None
    """Steps between two writings of last.ckpt; None writes it after validations."""
    devices: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | Literal["auto"] = "auto"
    """Processes on each machine; auto takes one per GPU, or one."""
    num_nodes: int = Field(1, ge=1, le=MOST_MACHINES)
    """Machines; the others run ``tabweave join``."""
    rendezvous: Annotated[str, AfterValidator(endpoint)] | None = None
    """HOST:PORT of this machine, where the processes of several machines meet."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """Several processes: ddp, each has the whole model (auto), or fsdp, each a part."""
    fsdp: FsdpConfig = FsdpConfig()
    """What fsdp splits."""
    gradient_compression: Literal["none", "bf16"] = "none"
    """Number format in which ddp sends gradients from process to process."""
    timeout_s: PositiveInt = 300
    """Seconds after which a process that waits for another one gives up."""

    @model_validator(mode="after")
    def _interval_is_whole_beyond_one(self) -> Self:
        if self.val_check_interval > 1 and self.val_check_interval % 1:
            raise contradiction(
                f"val_check_interval {self.val_check_interval} is more than 1, so it "
                "counts batches and must be a whole number",
                "val_check_interval",
            )
        return self

    @model_validator(mode="after")
    def _checks_come_between_steps(self) -> Self:
        every, batches = self.val_check_interval, self.accumulate_grad_batches
        if every > 1 and every % batches:
            raise contradiction(
                f"val_check_interval {every:g} counts batches and must be a multiple of "
                f"accumulate_grad_batches {batches}, so that no step is cut in two",
                "val_check_interval",
                "accumulate_grad_batches",
            )
        return self

    @model_validator(mode="after")
    def _tokens_are_counted_without_padding(self) -> Self:
        if self.max_tokens_per_batch is not None and self.batching != "packed":
            raise contradiction(
                f"max_tokens_per_batch {self.max_tokens_per_batch} counts tokens without "
                f"padding, and batching {self.batching} computes padding too; set "
                "batching to packed, or leave max_tokens_per_batch out and lower "
                "batch_size",
                "max_tokens_per_batch",
                "batching",
            )
        return self

    @model_validator(mode="after")
    def _machines_know_where_to_meet(self) -> Self:
        if self.num_nodes > 1 and self.rendezvous is None:
            raise contradiction(
                f"num_nodes is {self.num_nodes}, so rendezvous must say where the "
                "machines meet: HOST:PORT, as the others reach this one",
                "rendezvous",
                "num_nodes",
            )
        return self

    @model_validator(mode="after")
    def _parts_that_go_together(self) -> Self:
        if self.strategy != "fsdp" and self.fsdp != FsdpConfig():
            raise contradiction(
                f"fsdp is set ({self.fsdp}), but strategy is {self.strategy}; set strategy "
                "to fsdp, or leave fsdp out",
                "fsdp",
                "strategy",
            )
        if self.strategy == "fsdp" and self.gradient_compression != "none":
            raise contradiction(
                "gradient_compression is for strategy ddp; with fsdp, leave it out",
                "gradient_compression",
                "strategy",
            )
        if self.shards and self.ema_decay is not None:
            raise contradiction(
                f"ema_decay {self.ema_decay} averages whole weights, and fsdp has parts "
                "of them in every process; use strategy ddp, or leave ema_decay out",
                "ema_decay",
                "strategy",
            )
        return self

    @property
    def shards(self) -> bool:
        """Whether the weights are split among the processes, where there are several."""
        return self.strategy == "fsdp" and self.fsdp.sharding != "none"

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.run_scheduler and self.lr_decay is not None:
            raise contradiction(
                f"lr_decay {self.lr_decay} is for a rate without a scheduler; set "
                "run_scheduler to false, or leave lr_decay out",
                "lr_decay",
                "run_scheduler",
            )
        return self

    def encoder_rate(self, *, scratch: bool) -> float:
        """Learning rate of a text encoder that starts from nothing, or pretrained."""
        return self.lr or (SCRATCH_RATE if scratch else PRETRAINED_RATE)

    def batches_between_checks(self, batches: int) -> int:
        """Batches between two validations in an epoch of so many batches."""
        if self.val_check_interval > 1:
            return int(self.val_check_interval)
        step = self.accumulate_grad_batches
        between = max(1, int(batches * self.val_check_interval))
        return min(batches, -(-between // step) * step)

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
