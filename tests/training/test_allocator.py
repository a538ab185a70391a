import subprocess
import sys

import pytest

from tabweave.training.allocator import keeping_freed_memory

# A process of its own: what other tests freed would be used again without any help.
FRESH_HEAP = """
import resource
import torch
from tabweave.training.allocator import keeping_freed_memory
from tabweave.training.measures.memory import resident_memory_mib

def faults(steps=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(12_000_000)  # 46 MiB: more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(1)
outside = faults()
with keeping_freed_memory():
    faults(20)  # at first, small objects settle in what was freed, and the heap grows
    inside = faults()
    kept = resident_memory_mib()
assert inside < outside / 3, (inside, outside)
assert resident_memory_mib() < kept - 30, (resident_memory_mib(), kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_and_given_back():
    command = [sys.executable, "-c", FRESH_HEAP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_error_goes_through():
    with pytest.raises(KeyError), keeping_freed_memory():
        raise KeyError
