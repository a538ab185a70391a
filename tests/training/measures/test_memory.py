import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.measures.memory import (
    OutOfMemory,
    batch_sizes,
    is_out_of_memory,
    memory_figures,
    peak_memory_mib,
    resident_memory_mib,
)

STATUS = Path("/proc/self/status")
TESTS = Path(__file__).parents[2]

# A wide model over one batch of all rows needs far more than is left.
SMALL_MACHINE = """
import resource, sys
from pathlib import Path
from models_fixtures import Tiny, model_config
from tabweave.training import fitting
from dataclasses import replace
from tabweave.models.registry import TextInput, describe_model

folder = Path(sys.argv[1])
plan = Tiny(folder).plan("bert", folder, batch_size=48, max_epochs=1)
size = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 80_000}
wide = model_config("bert", scratch=size)
field = TextInput("review", "scratch", 200, 0, 12, 3)
spec = describe_model(wide, [field], (), plan.spec.classes)
plan = replace(plan, spec=spec)

def limited(*arguments):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(sys.argv[2]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return fit(*arguments)

fit, fitting._fit = fitting._fit, limited
fitting.fit(plan)
"""


def status(name):
    if not STATUS.exists():
        pytest.skip("needs the kernel's own figure")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[name].removesuffix("kB")) / 1024


def test_peak_memory_is_in_mib():
    assert peak_memory_mib() == pytest.approx(status("VmHWM"), rel=0.1)


def test_resident_memory_is_what_is_held_now():
    before = status("VmRSS")
    assert resident_memory_mib() == pytest.approx(before, rel=0.1)
    held = np.ones(2**24)  # 128 MiB
    assert resident_memory_mib() > before + 100
    del held
    assert resident_memory_mib() < before + 100 <= peak_memory_mib()


def test_a_gpu_s_memory_is_told_where_there_is_one():
    names = {name for name in memory_figures() if name.startswith("cuda")}
    wanted = {"cuda_allocated_mib", "cuda_reserved_mib", "cuda_peak_mib"}
    assert names == (wanted if torch.cuda.is_available() else set())


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("can't allocate memory"), False),
        (TrainingError("not enough memory"), False),
    ],
)
def test_only_the_allocators_errors_are_about_memory(error, found):
    assert is_out_of_memory(error) == found


def test_what_torch_says_on_a_cpu_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes"), OutOfMemory(None).explained():
        raise RuntimeError("shapes do not match")


def test_the_sizes_of_a_batch_are_rows_tokens_and_chunks(tiny):
    batch = tiny.rows("trimodal_bert").batch(np.arange(8))
    lengths = batch.texts[0].lengths + batch.texts[1].lengths
    assert batch_sizes(batch) == (
        f"8 rows with {sum(lengths)} tokens in {len(lengths)} chunks, the longest of "
        f"{max(lengths)} tokens"
    )
    table = tiny.rows("tabular").batch(np.arange(8))
    assert batch_sizes(table) == "8 rows without text"


def test_the_advice_names_what_is_set(tiny):
    config = TrainingConfig(batch_size=77, max_tokens_per_batch=999)
    memory = OutOfMemory(config)
    before = pytest.raises(TrainingError, match="ran out before the first batch")
    with before as caught, memory.explained():
        raise MemoryError
    assert isinstance(caught.value.__cause__, MemoryError)
    for part in ("batch_size (now 77)", "per_batch (now 999)", "said: MemoryError"):
        assert part in str(caught.value)


def test_a_validation_that_runs_out_of_memory_names_its_batch(fit):
    memory = OutOfMemory(TrainingConfig())

    def metric(probabilities, labels):
        raise MemoryError

    named = pytest.raises(TrainingError, match=r"in validation, batch 3: \d rows")
    with named, memory.explained():
        fit("bert", callbacks=[memory], metric=metric)


@pytest.mark.skipif(not STATUS.exists(), reason="needs the limits of Linux")
def test_a_machine_without_memory_ends_training_with_advice(tiny, tmp_path):
    def run(mib):
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SMALL_MACHINE, str(tmp_path), mib],
            cwd=TESTS,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("300")
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    sizes = r"48 rows with [\d,]+ tokens in \d+ chunks, the longest of \d+ tokens"
    assert re.search(rf"TrainingError: Memory ran out in training, .*: {sizes}", last)
    assert "batch_size (now 48)" in last
    assert "allocate" in last
