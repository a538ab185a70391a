"""Arrays of strings or bytes as one run of bytes with offsets: joining and replacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def byte_offsets(values: pa.Array) -> np.ndarray:
    """Where each value starts in the data of a large string or binary array [n + 1]."""
    _, offsets, _ = values.buffers()
    if not len(values):
        return np.zeros(1, np.int64)
    return np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]


def data_of(values: pa.Array) -> pa.Buffer:
    """The bytes of all values, one after the other."""
    offsets = byte_offsets(values)
    return (values.buffers()[2] or pa.py_buffer(b""))[offsets[0] : offsets[-1]]


def joined(values: pa.LargeBinaryArray, offsets: np.ndarray) -> pa.LargeBinaryArray:
    """The values from offsets[i] to offsets[i + 1] as value i; no byte is copied.

    Example:
        >>> values = pa.array([b"a", b"b", b"c"], pa.large_binary())
        >>> joined(values, np.array([0, 2, 2, 3])).to_pylist()
        [b'ab', b'', b'c']
    """
    starts = byte_offsets(values)
    ends = pa.py_buffer(starts[offsets] - starts[0])
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, ends, data_of(values)]
    )


def spliced(
    values: pa.Array,
    places: np.ndarray,
    counts: Sequence[int],
    others: Sequence[object],
) -> tuple[pa.Array, np.ndarray]:
    """The values, of which those at `places` gave way to others: counts[i] for the i-th.

    Also gives offsets [values + 1]: what stands for value i lies between offsets[i] and
    offsets[i + 1].

    Example:
        >>> found, offsets = spliced(pa.array(["a", "b"]), np.array([0]), [2], ["x", "y"])
        >>> found.to_pylist(), offsets.tolist()
        (['x', 'y', 'b'], [0, 2, 3])
    """
    sizes = np.ones(len(values), np.int64)
    sizes[places] = counts
    offsets = np.append(0, np.cumsum(sizes))
    if not len(places):
        return values, offsets
    gone = np.zeros(len(values), bool)
    gone[places] = True
    order = np.repeat(np.arange(len(values)), sizes)
    order[np.repeat(gone, sizes)] = len(values) + np.arange(len(others))
    both = pa.concat_arrays([values, pa.array(others, values.type)])
    return both.take(pa.array(order)), offsets
