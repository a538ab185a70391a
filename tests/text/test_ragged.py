from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tabweave.text.ragged import byte_offsets, data_of, joined, spliced

values = st.lists(st.binary(max_size=4), max_size=10)


def binary(items):
    return pa.array(items, pa.large_binary())


@given(values, st.integers(0, 5))
def test_offsets_and_bytes_are_those_of_the_values_also_of_a_slice(items, start):
    part = binary(items)[start:]
    assert np.diff(byte_offsets(part)).tolist() == list(map(len, items[start:]))
    assert data_of(part).to_pybytes() == b"".join(items[start:])


@given(values, st.integers(0, 3), st.data())
def test_joined_values_are_the_bytes_between_the_offsets(items, start, data):
    part, items = binary(items)[start:], items[start:]
    inner = data.draw(st.lists(st.integers(0, len(items)), max_size=6))
    cuts = [0, *sorted(inner), len(items)]
    found = joined(part, np.array(cuts))
    expected = [b"".join(items[a:b]) for a, b in pairwise(cuts)]
    assert found.to_pylist() == expected
    found.validate(full=True)


@given(
    st.lists(
        st.tuples(st.text(max_size=3), st.none() | st.lists(st.text(max_size=3))),
        max_size=8,
    )
)
def test_spliced_values_equal_the_oracle(pairs):
    replaced = [(n, given) for n, (_, given) in enumerate(pairs) if given is not None]
    found, offsets = spliced(
        pa.array([value for value, _ in pairs], pa.large_string()),
        np.array([n for n, _ in replaced], np.int64),
        [len(given) for _, given in replaced],
        [other for _, given in replaced for other in given],
    )
    lists = [[value] if given is None else given for value, given in pairs]
    ends = offsets.tolist()
    items = found.to_pylist()
    assert items == [item for one in lists for item in one]
    assert [items[a:b] for a, b in pairwise(ends)] == lists
