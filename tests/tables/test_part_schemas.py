import pyarrow as pa
import pytest

from tabweave.errors import Problems
from tabweave.tables.part_schemas import common_type, merged_schema

D = pa.dictionary(pa.int8(), pa.string())


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.null(), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (D, pa.string(), pa.string()),
        (D, pa.dictionary(pa.int32(), pa.large_string()), pa.large_string()),
        (D, D, D),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        # What would change a cell.
        (pa.int64(), pa.string(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.string(), pa.binary(), None),
        (pa.decimal128(5, 2), pa.float64(), None),
        (pa.timestamp("s"), pa.timestamp("s", "UTC"), None),
        (pa.timestamp("s"), pa.string(), None),
        (D, pa.int64(), None),
    ],
)
def test_types_go_together_where_no_cell_changes(one, other, both):
    assert common_type(one, other) == both
    assert common_type(other, one) == both


def merged(*schemas):
    problems = Problems("they differ")
    common = pa.schema(schemas[0], metadata={"made by": "someone"})
    for number, schema in enumerate(schemas[1:], start=1):
        names = ("0.csv", f"{number}.csv")
        common = merged_schema(common, pa.schema(schema), names, problems)
    return common, problems.found


def test_order_and_metadata_are_those_of_the_first_file():
    common, found = merged(
        [pa.field("a", pa.int8(), nullable=False), ("b", pa.null())],
        [("b", pa.string()), ("a", pa.int32())],
        [("a", pa.int8()), ("b", pa.null())],
    )
    assert found == []
    assert common == pa.schema([("a", pa.int32()), ("b", pa.string())])
    assert common.metadata == {b"made by": b"someone"}


def test_all_that_differs_is_noted():
    kinds = [("a", pa.int64()), ("b", pa.bool_())]
    _, found = merged(
        kinds,
        [("a", pa.string()), ("b", pa.string())],
        [("a", pa.int64()), ("c", pa.bool_())],
    )
    assert found == [
        "1.csv: column 'a' has type string, but in 0.csv it is int64; write both alike.",
        "1.csv: column 'b' has type string, but in 0.csv it is bool; write both alike.",
        "2.csv: lacks the columns 'b' and has further columns 'c'; 0.csv has 'a', 'b'.",
    ]


def test_repeated_columns_must_come_in_one_order():
    text = pa.string()
    good = [("a", text), ("b", text), ("a", text)]
    assert merged(good, good)[1] == []
    (sentence,) = merged(good, [("a", text), ("a", text), ("b", text)])[1]
    assert sentence.startswith("1.csv: has columns of one name in another order")
