"""Any Python value in any role is handled or an error by name, never a traceback."""

import datetime
import enum
import sys
import uuid
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tabweave.errors import SchemaError
from tabweave.scoring import Scorer

GOOD = {"note": "where", "shop": "a", "price": 3.5}
ROLES = ("note", "shop", "price", "id")
NUMPY = (
    *(np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble, np.bool_),
    *(np.complex64, np.str_, np.bytes_),
)


class Letter(enum.StrEnum):
    """Text with a class of its own."""

    A = "a"


class Number(enum.IntEnum):
    """An integer with a class of its own."""

    ONE = 1


ODD = [
    *(Decimal("sNaN"), Decimal("-sNaN12"), Decimal("NaN"), Decimal("-Infinity")),
    *(Decimal("1E+999999"), Decimal("1E-999999"), Decimal(10) ** 5000),
    *(10**4299, 10**4300, -(10**5000), 2**63, 2**64, 1 << 20_000),
    *(5e-324, 1e-45, -0.0, 3.4e38, 3.5e38, 1.8e308, float("inf"), float("nan")),
    *(Fraction(1, 3), Fraction(10**400, 3), 1j, complex("nan")),
    *(
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
        np.timedelta64("NaT"),
        np.timedelta64(3, "D"),
    ),
    *(datetime.date(2024, 2, 29), datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)),
    *(datetime.timedelta(1), pd.Timestamp("2024-01-01", tz="Asia/Tokyo")),
    *(
        "",
        "\0",
        "a\0b",
        "\ud800",
        "x\udfff",
        "\U0010ffff",
        "é" * 9,
        "1e400",
        "nan",
        "NA",
    ),
    *(b"", b"\xff", bytearray(b"x"), memoryview(b"x"), uuid.UUID(int=1), object()),
    *([], [[[1]]], (1,), {1}, {"a": [1]}, range(3), Letter.A, Number.ONE, sys, int),
    *(
        np.array(1),
        np.array([1, 2]),
        np.ma.masked,
        pd.Interval(0, 1),
        pd.Period("2024"),
    ),
    *(pa.scalar(1), pa.scalar("a"), True, False, None),
]
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(codec=None), max_size=8),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.binary(max_size=5),
    st.datetimes(),
    st.recursive(st.none() | st.integers(), st.lists, max_leaves=4),
    st.builds(
        lambda kind, number: kind(number), st.sampled_from(NUMPY), st.integers(0, 99)
    ),
)


@pytest.fixture(scope="module")
def scorer(good_bundle):
    return Scorer.open(good_bundle, threads=1)


def outcome(scorer, rows):
    """The number of answers, or the message of an error that names row and column."""
    try:
        found = scorer.score(rows)
    except SchemaError as error:
        return str(error)
    assert np.isfinite(found["prob_yes"].to_numpy()).all()
    return found.num_rows


def alone(value, role):
    return [GOOD, {**GOOD, role: value}, GOOD]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_an_odd_value_has_an_answer_or_is_named(scorer, value, role):
    rows = alone(value, role)
    for one in rows:
        one.setdefault("id", "1") if role == "id" else None
    found = outcome(scorer, rows)
    if found != 3:
        assert f"column '{role}'" in found
        assert "row 2" in found
        assert len(found) < 1000


@given(st.lists(st.tuples(VALUES, st.sampled_from(ROLES[:3])), min_size=1, max_size=6))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@example([("a", "shop"), (1, "shop"), (True, "shop"), (1.0, "shop")])
def test_any_mixture_of_values_has_answers_or_names_every_row(scorer, cells):
    rows = [{**GOOD, role: value} for value, role in cells]
    found = outcome(scorer, rows)
    wrong = [
        number for number, row in enumerate(rows, 1) if outcome(scorer, [row]) != 1
    ]
    if not wrong:
        assert found == len(rows)
    else:
        # Of one reason three rows are shown and the others counted.
        assert f"row {wrong[0]}" in found
        assert all(f"row {n}" in found for n in wrong) or "more" in found
    frame = pd.DataFrame(rows, dtype=object)
    assert (outcome(scorer, frame) == len(rows)) == (not wrong)


def test_what_is_no_category_is_not_made_one(scorer):
    for value in (1.0, Decimal("1.0"), Fraction(1, 2), np.timedelta64(1), b"a"):
        assert "column 'shop'" in outcome(scorer, alone(value, "shop"))
    for same in (["1", 1, np.int8(1), Number.ONE], ["a", Letter.A, np.str_("a")]):
        answers = scorer.score([{**GOOD, "shop": value} for value in same])
        assert len(set(answers["prob_yes"].to_pylist())) == 1
