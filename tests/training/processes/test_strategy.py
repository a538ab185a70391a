import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from tabweave.errors import TrainingError
from tabweave.training.config import FsdpConfig, TrainingConfig
from tabweave.training.processes.strategy import (
    CompressedDDP,
    ShardedStrategy,
    make_strategy,
)


@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp"])
def test_alone_a_process_needs_no_strategy(strategy):
    assert make_strategy(TrainingConfig(strategy=strategy), 1) == "auto"


@pytest.mark.parametrize(
    ("training", "kind"),
    [
        ({}, DDPStrategy),
        ({"strategy": "ddp"}, DDPStrategy),
        ({"strategy": "fsdp"}, ShardedStrategy),
        ({"strategy": "fsdp", "fsdp": {"sharding": "grad_op"}}, ShardedStrategy),
        ({"strategy": "fsdp", "fsdp": {"sharding": "none"}}, DDPStrategy),
    ],
)
def test_the_strategy_is_the_one_asked_for(training, kind):
    found = make_strategy(TrainingConfig(timeout_s=77, **training), 2)
    assert type(found) is kind
    assert found._timeout.total_seconds() == 77


def test_gradients_are_compressed_where_asked_for():
    plain = make_strategy(TrainingConfig(), 2)
    small = make_strategy(TrainingConfig(gradient_compression="bf16"), 2)
    assert type(plain) is DDPStrategy
    assert type(small) is CompressedDDP
    # Looking for weights without a gradient would cost a walk over the graph per step.
    assert not plain._ddp_kwargs.get("find_unused_parameters")


@pytest.mark.parametrize("parts", [False, True])
def test_checkpoints_are_in_parts_where_asked_for(parts):
    fsdp = FsdpConfig(sharded_checkpoints=parts)
    config = TrainingConfig(strategy="fsdp", fsdp=fsdp)
    assert make_strategy(config, 2)._save_distributed_checkpoint is parts


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there to offload from")
def test_offloading_without_a_gpu_is_refused():
    config = TrainingConfig(strategy="fsdp", fsdp=FsdpConfig(cpu_offload=True))
    with pytest.raises(TrainingError, match=r"cpu_offload .* there is no GPU"):
        make_strategy(config, 2)
