"""Keeps freed memory for the next step instead of handing it back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# <malloc.h> of glibc
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEEP_ALL = 2**31 - 1
MIB = 2**20
BEFORE = {TRIM_THRESHOLD: 64 * MIB, MMAP_THRESHOLD: 32 * MIB}
"""The largest values that glibc's own adjustment reaches, and soon does reach."""


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Lets large tensors reuse memory from step to step.

    By default glibc asks the system for each large tensor and returns it when it is freed,
    and the system zeroes every page of it again: a tenth of a step's CPU time. What was
    kept goes back at the end. Does nothing where the C library is another one.
    """
    try:
        libc = ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
    except OSError:
        libc = None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    for threshold in BEFORE:
        libc.mallopt(threshold, KEEP_ALL)
    try:
        yield
    finally:
        for threshold, value in BEFORE.items():
            libc.mallopt(threshold, value)
        libc.malloc_trim(0)
