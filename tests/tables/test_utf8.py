import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.tables.utf8 import first_invalid, invalid_cells, is_utf8, repaired

# Bytes near the borders of the encoding: lead bytes, surrogates, too large, overlong.
PIECES = st.sampled_from(
    [
        *(b"a", "é".encode(), "日".encode(), "🙂".encode(), "\ufffd".encode()),
        *(b"\x80", b"\xc0\xaf", b"\xc3", b"\xe6\x97", b"\xed\xa0\x80", b"\xf0\x9f\x99"),
        *(b"\xf4\x90\x80\x80", b"\xff", b"\xef\xbf", b""),
    ]
)
CELLS = st.lists(
    st.none() | st.lists(PIECES, max_size=4).map(b"".join) | st.binary(max_size=6),
    max_size=8,
)


def decodes(cell):
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def bad_sequences(cell):
    """Each refusal of Python's strict decoder is one bad sequence."""
    count = 0
    while True:
        try:
            cell.decode()
        except UnicodeDecodeError as error:
            count += 1
            cell = cell[error.end :]
        else:
            return count


@given(CELLS)
def test_cells_are_judged_as_a_strict_decoder_judges_them(cells):
    wrong = [n for n, c in enumerate(cells) if c is not None and not decodes(c)]
    values = pa.array(cells, pa.binary())
    assert is_utf8(values) == (not wrong)
    assert first_invalid(values) == (wrong[0] if wrong else None)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@given(cells=CELLS)
def test_bad_sequences_are_replaced_and_counted(kind, cells):
    found, count = repaired(pa.array(cells, pa.binary()), kind)
    assert found.type == kind
    found.validate(full=True)
    wanted = [None if c is None else c.decode("utf-8", "replace") for c in cells]
    assert found.to_pylist() == wanted
    assert count == sum(bad_sequences(c) for c in cells if c is not None)


def test_a_slice_of_an_array_is_judged_alone():
    values = pa.array([b"\xff", b"a", b"\xff"], pa.binary())
    assert is_utf8(values[1:2])
    assert first_invalid(values[1:]) == 1
    assert repaired(values[1:], pa.string())[0].to_pylist() == ["a", "\ufffd"]


def test_categories_are_judged_by_their_text():
    values = pa.array([b"a", b"\xff", b"a"], pa.binary()).dictionary_encode()
    assert first_invalid(values) == 1
    assert repaired(values, pa.string())[0].to_pylist() == ["a", "\ufffd", "a"]


@given(CELLS)
def test_every_cell_is_judged_for_itself(cells):
    found = invalid_cells(pa.array(cells, pa.binary())).tolist()
    assert found == [cell is not None and not decodes(cell) for cell in cells]
