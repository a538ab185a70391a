"""How Lightning lets several processes train one model: replicas, or a part for each."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    Strategy,
)
from torch import Tensor
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.futures import Future

from tabweave.errors import TrainingError
from tabweave.models.classifier import Classifier
from tabweave.models.encoders.transformer_encoder import TransformerEncoder
from tabweave.storage.artifacts import replacing_folder
from tabweave.training.checkpoints.checkpoint import WholeFileCheckpointIO
from tabweave.training.config import FsdpConfig, TrainingConfig

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.nn.parallel import DistributedDataParallel


def send_as_bf16(state: object, bucket: GradBucket) -> Future[Tensor]:
    """Sums a bucket of gradients over all processes in half the bytes.

    torch has such a function, and refuses it on a CPU.
    """
    buffer = bucket.buffer()
    sent = buffer.to(torch.bfloat16).div_(dist.get_world_size())
    future = dist.all_reduce(sent, async_op=True).get_future()
    return future.then(lambda done: buffer.copy_(done.value()[0]))


send_as_bf16.__annotations__.clear()  # DDP compares them, and they are text here


class CompressedDDP(DDPStrategy):
    """Sends gradients as bf16; Lightning's own option does nothing on a CPU."""

    def configure_ddp(self) -> None:
        """Wraps the model, and says how gradients travel."""
        super().configure_ddp()
        model = cast("DistributedDataParallel", self.model)
        model.register_comm_hook(None, send_as_bf16)


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 whose checkpoints in parts, too, are replaced whole or not at all."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Saves one file, or a folder to which every process adds its part."""
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        path = Path(filepath)
        with replacing_folder(path) if self.is_global_zero else nullcontext() as part:
            super().save_checkpoint(checkpoint, part or path, storage_options)
            self.barrier()
        self.barrier()
        if self.is_global_zero and isinstance(
            self.checkpoint_io, WholeFileCheckpointIO
        ):
            self.checkpoint_io.remove_replaced(path)


def make_strategy(config: TrainingConfig, world: int) -> Strategy | str:
    """The strategy for so many processes; alone, Lightning's own.

    Raises:
        TrainingError: Shards cannot be offloaded, because they are in host memory.
    """
    if world == 1:
        return "auto"
    limit = timedelta(seconds=config.timeout_s)
    if config.shards:
        if config.fsdp.cpu_offload and not torch.cuda.is_available():
            raise TrainingError(
                "training.fsdp.cpu_offload moves shards from a GPU to host memory, and "
                "there is no GPU. Leave it out."
            )
        return ShardedStrategy(
            data_parallel_size=world,
            tensor_parallel_size=1,
            save_distributed_checkpoint=config.fsdp.sharded_checkpoints,
            timeout=limit,
        )
    kind = CompressedDDP if config.gradient_compression == "bf16" else DDPStrategy
    # All buffers are constants.
    return kind(timeout=limit, broadcast_buffers=False, gradient_as_bucket_view=True)


def shard(model: Classifier, mesh: DeviceMesh, config: FsdpConfig) -> None:
    """Splits the weights among the processes of a mesh, in place (FSDP2).

    Every layer of an encoder is gathered when it computes. `grad_op` keeps the gathered
    weights until the way back is done.
    """
    offload = CPUOffloadPolicy() if config.cpu_offload else OffloadPolicy()
    for encoder in model.text_encoders:
        if not isinstance(encoder, TransformerEncoder):
            continue
        encoder.sharded = True
        for layer in encoder.encoder_layers():
            fully_shard(
                layer,
                mesh=mesh,
                reshard_after_forward=config.sharding == "full",
                offload_policy=offload,
            )
    fully_shard(model, mesh=mesh, offload_policy=offload)
