import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tabweave.scoring.windows import windows_of

LENGTHS = st.lists(st.integers(0, 50), max_size=60)


@given(LENGTHS, st.integers(1, 12), st.integers(1, 120))
def test_every_row_is_in_one_window_that_keeps_its_bounds(lengths, rows, size):
    lengths = np.array(lengths, np.int64)
    place = 0
    for start, count in windows_of(lengths, rows, size):
        assert start == place
        assert 1 <= count <= rows
        held = lengths[start : start + count]
        assert held.sum() <= size or count == 1
        place += count
        # A window is as large as it may be.
        if place < len(lengths) and count < rows:
            assert held.sum() + lengths[place] > size
    assert place == len(lengths)


def test_rows_without_text_still_fill_windows():
    assert list(windows_of(np.zeros(7, np.int64), 3, 1)) == [(0, 3), (3, 3), (6, 1)]
