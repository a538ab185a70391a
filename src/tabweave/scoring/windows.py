"""Where a batch of rows is cut into windows of bounded rows and text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def windows_of(
    lengths: npt.NDArray[np.int64], rows: int, size: int
) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each window; together they hold every row once.

    Args:
        lengths: Shape [rows]: bytes of text in each row.
        rows: Most rows of a window.
        size: Most bytes of a window; a longer row has one of its own.

    Example:
        >>> list(windows_of(np.array([3, 3, 3, 9, 1]), 10, 6))
        [(0, 2), (2, 1), (3, 1), (4, 1)]
    """
    ends = np.cumsum(lengths)
    start, before = 0, 0
    while start < len(lengths):
        fits = int(np.searchsorted(ends, before + size, side="right")) - start
        count = min(max(1, fits), rows, len(lengths) - start)
        yield start, count
        start += count
        before = int(ends[start - 1])
