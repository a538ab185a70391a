import datetime as dt
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import Problems, SchemaError
from tabweave.splitting.assignment import DROPPED, TEST, TRAIN, VAL
from tabweave.splitting.times import Times, Where, read_times, split_by_time

SHARES = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
DAY = 86_400_000_000
NOON = dt.datetime(2024, 3, 1, 12, 0, 0, 250_000)


def read(values, kind=None):
    problems = Problems("wrong")
    chunks = [values[:1], values[1:]]
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks])
    times = read_times(column, Where("f.csv: time column 'at'"), problems)
    assert (times is None) == bool(problems)
    return times if times is not None else str(problems)


# Reading times.


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2024-03-01", dt.datetime(2024, 3, 1)),
        ("2024-03-01 12:00", dt.datetime(2024, 3, 1, 12)),
        ("2024-03-01T12:00:00.25", NOON),
        ("2024-03-01T12:00:00.250000999", NOON),
        ("1969-12-31", dt.datetime(1969, 12, 31)),
    ],
)
def test_local_times_are_microseconds(cell, moment):
    times = read([cell, "1970-01-01"])
    assert times.kind == "naive"
    since = (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    assert times.values.tolist() == [since, 0]


def test_times_with_an_offset_are_compared_in_utc():
    cells = [
        "2024-03-01T12:00:00Z",
        "2024-03-01T13:00:00+01:00",
        "2024-03-01 11:00-0100",
    ]
    times = read(cells)
    assert times.kind == "aware"
    assert len(set(times.values.tolist())) == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.timestamp("ns"), NOON),
        (pa.timestamp("us"), NOON),
        (pa.timestamp("ms", "UTC"), NOON.replace(tzinfo=dt.UTC)),
        (pa.date32(), dt.date(2024, 3, 1)),
        (pa.date64(), dt.date(2024, 3, 1)),
    ],
)
def test_typed_times_equal_the_same_times_as_text(kind, value):
    typed, text = read([value] * 2, kind), read([value.isoformat()] * 2)
    assert typed.kind == text.kind
    assert typed.values.tolist() == text.values.tolist()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["3", "+1", "-2"], None, [3, 1, -2]),
        (["1.5", "2e3", "3"], None, [1.5, 2000.0, 3.0]),
        (["1700000000000000001", "1700000000000000002"], None, None),
        ([3, 1], pa.int32(), [3, 1]),
        ([2.5, 1.0], pa.float32(), [2.5, 1.0]),
        ([Decimal("2.5"), Decimal("1.0")], None, [2.5, 1.0]),
    ],
)
def test_numbers_are_kept(values, kind, expected):
    times = read(values, kind)
    assert times.kind == "number"
    assert times.values.tolist() == (expected or [int(value) for value in values])


@pytest.mark.parametrize(
    ("values", "kind", "part"),
    [
        (["2024-01-01", "", "2024-01-02"], None, r"empty in 1 rows, first row 2"),
        (["1", "", None], None, r"empty in 2 rows, first row 2, row 3"),
        ([1.0, float("nan")], pa.float64(), r"empty in 1 rows, first row 2"),
        ([None, NOON], pa.timestamp("us"), r"empty in 1 rows, first row 1"),
        (["2024-01-01", "31.12.2024"], None, "row 2: '31.12.2024'"),
        (["2024-01-01", "2024-13-01"], None, "row 2: '2024-13-01'"),
        (["2024-01-01", "20240101"], None, "row 2: '20240101'"),
        (["2024-01-01", "x", "y", "z", "x"], None, "row 4: 'z' and 1 more"),
        (["2024-01-01", "2024-01-01T00:00Z"], None, "row 2.*row 1"),
        ([1.0, float("inf")], pa.float64(), r"infinite in row 2"),
        (["1", "1e999"], None, r"infinite in row 2"),
        ([True, False], pa.bool_(), "has type bool"),
        ([dt.time(1), dt.time(2)], pa.time64("us"), "has type time64"),
    ],
)
def test_what_cannot_be_placed_is_named(values, kind, part):
    message = read(values, kind)
    assert isinstance(message, str)
    with pytest.raises(SchemaError, match=part):
        raise SchemaError(message)
    assert "f.csv: time column 'at'" in message


# Splitting by time.


def split(values, embargo=None):
    return split_by_time(Times(np.array(values), "number"), SHARES, embargo)


def test_distinct_times_are_cut_at_the_fractions():
    sides = split(list(range(100))[::-1])
    assert sides.tolist() == [TEST] * 20 + [VAL] * 10 + [TRAIN] * 70


def test_rows_of_one_time_are_never_cut_apart():
    sides = split([0] * 60 + [1] * 25 + [2] * 5 + [3] * 10)
    assert sides.tolist() == [TRAIN] * 60 + [VAL] * 25 + [TEST] * 15


def test_fewer_than_three_times_are_refused():
    with pytest.raises(SchemaError, match="at least 3 distinct times"):
        split([1, 2, 2, 1])
    assert split([1, 2, 3]).tolist() == [TRAIN, VAL, TEST]


def test_an_embargo_drops_the_end_of_the_earlier_split():
    sides = split(list(range(100)), embargo=3)
    # Val begins at 70: 67 is 3 away and stays, 68 and 69 go.
    assert [i for i, side in enumerate(sides) if side == DROPPED] == [68, 69, 78, 79]
    assert (sides[67], sides[70], sides[77], sides[80]) == (TRAIN, VAL, VAL, TEST)


MOMENTS = st.lists(st.integers(-50, 50), min_size=3, max_size=80).filter(
    lambda values: len(set(values)) > 2
)


@settings(deadline=None)
@given(MOMENTS, st.one_of(st.none(), st.integers(1, 30), st.floats(0.1, 30)))
def test_the_past_is_before_the_future_by_the_embargo(values, embargo):
    values = np.array(values)
    free, sides = split(values), split(values, embargo)
    assert set(free.tolist()) == {TRAIN, VAL, TEST}
    for earlier, later in ((TRAIN, VAL), (VAL, TEST), (TRAIN, TEST)):
        assert values[free == earlier].max() < values[free == later].min()
        if (sides == earlier).any() and (sides == later).any():
            gap = values[sides == later].min() - values[sides == earlier].max()
            assert gap >= (embargo or 1)
    # A row keeps its split or is dropped; a dropped one is too near the next split.
    dropped = sides == DROPPED
    assert (sides[~dropped] == free[~dropped]).all()
    for row in np.flatnonzero(dropped):
        assert values[free == free[row] + 1].min() - values[row] < embargo
    assert not (dropped & (free == TEST)).any()


@settings(deadline=None)
@given(MOMENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    sides = split(values, 2)
    assert split([values[i] for i in order], 2).tolist() == sides[order].tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=50, max_size=100, unique=True))
def test_without_ties_each_cut_is_the_nearest(values):
    sides = split(values)
    assert abs((sides == TRAIN).sum() - 0.7 * len(values)) <= 0.5
    assert abs((sides == TEST).sum() - 0.2 * len(values)) <= 0.5


def test_nanoseconds_as_whole_numbers_keep_their_order():
    start = 1_700_000_000_000_000_000
    times = read([str(start + i) for i in range(10)])
    assert split_by_time(times, SHARES, 1.0).tolist() == [*[0] * 7, 1, 2, 2]
