import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import SPLITS, DataConfig
from tabweave.splitting.config import SplitConfig
from tabweave.splitting.division import divide
from tabweave.tables.files import FORMATS, RawTable, write_rows

DATA = DataConfig(id="id", label="y", text=("text",))
SETTINGS = {
    "stratified": {},
    "duplicates": {"keep_duplicates_together": True},
    "group": {"method": "group", "group_column": "who"},
    "both": {
        "method": "group",
        "group_column": "who",
        "keep_duplicates_together": True,
    },
    "time": {"method": "time", "time_column": "at", "embargo": "3d"},
}
WORDS = ("where is my order", "pay me by gift card", "thanks", "", "NA", 'a "b",\nc')


def rows(seed, count=120):
    generator = np.random.default_rng(seed)
    days = np.datetime64("2024-01-01") + generator.integers(0, 90, count)
    words = generator.choice(WORDS, count, p=[0.1, 0.1, 0.05, 0.05, 0.05, 0.65])
    texts = [
        f"{word} {generator.integers(10**9)}" if row % 3 else str(word)
        for row, word in enumerate(words)
    ]
    columns = {
        "note": [f"00{row}" for row in range(count)],
        "id": [f"{row * 7919 % 10007:05d}" for row in range(count)],
        "text": texts,
        "y": generator.choice(
            ["no", "yes", "maybe"], count, p=[0.6, 0.3, 0.1]
        ).tolist(),
        "who": [f"w{number}" for number in generator.integers(0, 30, count)],
        "at": [str(day) for day in days],
    }
    return pa.table({name: pa.array(v, pa.string()) for name, v in columns.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def write(folder, table, ending="csv"):
    path = folder / f"all.{ending}"
    write_rows(path, iter(table.to_batches(17)), table.schema)
    return RawTable(path, "source")


def parts(division):
    """Split -> its rows."""
    return {s: pa.Table.from_batches(list(division.batches(s))) for s in SPLITS}


def split_of_id(division):
    return {
        row_id: split
        for split, table in parts(division).items()
        for row_id in table["id"].to_pylist()
    }


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("ending", FORMATS)
def test_every_row_is_in_one_split_as_written_or_counted_as_dropped(
    folder, method, ending
):
    table = rows(1)
    division = divide(
        write(folder, table, ending), DATA, SplitConfig(**SETTINGS[method])
    )
    found = parts(division)
    place = {row_id: row for row, row_id in enumerate(table["id"].to_pylist())}
    kept = []
    for part in found.values():
        own = [place[row_id] for row_id in part["id"].to_pylist()]
        assert own == sorted(own)
        assert part.equals(table.take(own))
        kept += own
    assert len(set(kept)) == len(kept)
    assert len(kept) + division.report["dropped_by_embargo"] == len(table)
    assert (division.report["dropped_by_embargo"] > 0) == (method == "time")
    for split, about in division.report["splits"].items():
        assert about["rows"] == len(found[split]) > 0


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(sorted(SETTINGS)))
def test_neither_row_order_nor_format_matters(folder, seed, method):
    table, config = rows(seed), SplitConfig(**SETTINGS[method])
    expected = split_of_id(divide(write(folder, table), DATA, config))
    order = np.random.default_rng(seed).permutation(len(table))
    for ending in FORMATS:
        again = divide(write(folder, table.take(order), ending), DATA, config)
        assert split_of_id(again) == expected


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), split_seed=st.integers(0, 10**6))
def test_every_class_has_its_share_in_every_split(folder, seed, split_seed):
    table = rows(seed)
    config = SplitConfig(seed=split_seed)
    found = parts(divide(write(folder, table), DATA, config))
    everything = Counter(table["y"].to_pylist())
    for split, share in zip(SPLITS, config.fractions, strict=True):
        here = Counter(found[split]["y"].to_pylist())
        for label, count in everything.items():
            assert abs(here[label] - share * count) < 1


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(["group", "both"]))
def test_no_group_is_in_two_splits(folder, seed, method):
    config = SplitConfig(**SETTINGS[method], val_fraction=0.3, test_fraction=0.3)
    table = rows(seed)
    if method == "both":
        # Texts that come again in many groups would join them all.
        column = pc.binary_join_element_wise(
            table["text"], table["id"], table["id"], " "
        )
        table = table.set_column(2, "text", column)
    found = parts(divide(write(folder, table), DATA, config))
    groups = [set(part["who"].to_pylist()) for part in found.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_no_text_is_in_two_splits(folder, seed):
    config = SplitConfig(**SETTINGS["duplicates"])
    division = divide(write(folder, rows(seed)), DATA, config)
    texts = [
        {" ".join(t.casefold().split()) for t in part["text"].to_pylist()} - {""}
        for part in parts(division).values()
    ]
    assert sum(map(len, texts)) == len(set().union(*texts))
    assert division.report["duplicates"]["units_of_several_rows"] >= 1


def test_texts_that_differ_in_a_few_letters_are_in_one_split(folder):
    generator = np.random.default_rng(2)
    texts = []
    for _ in range(40):
        text = "".join(generator.choice(list("abcdefgh "), 120))
        texts += [text, f"{text[:60]}#{text[61:]}", text.upper()]
    table = rows(2).set_column(2, "text", pa.array(texts))
    division = divide(write(folder, table), DATA, SplitConfig(**SETTINGS["duplicates"]))
    assert (division.sides.reshape(40, 3) == division.sides[::3, None]).all()
    assert division.report["duplicates"] == {
        "units": 40,
        "units_of_several_rows": 40,
        "rows_in_units_of_several": 120,
        "largest_unit": 3,
    }


def test_the_past_is_before_the_future_by_the_embargo(folder):
    division = divide(write(folder, rows(3)), DATA, SplitConfig(**SETTINGS["time"]))
    found = parts(division)
    days = {s: np.array(found[s]["at"].to_pylist(), "datetime64[D]") for s in SPLITS}
    for earlier, later in (("train", "val"), ("val", "test")):
        gap = days[later].min() - days[earlier].max()
        assert gap >= np.timedelta64(3, "D")
    for split, about in division.report["splits"].items():
        assert about["first_time"] == str(days[split].min())
        assert about["last_time"] == str(days[split].max())


def test_the_report_says_what_came_out(folder):
    table = rows(4)
    division = divide(write(folder, table), DATA, SplitConfig(**SETTINGS["group"]))
    report, found = division.report, parts(division)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["source"], report["format"]) == ("all.csv", "csv")
    assert report["rows"] == len(table)
    assert report["groups"]["units"] == pc.count_distinct(table["who"]).as_py()
    for split, about in report["splits"].items():
        labels = found[split]["y"].to_pylist()
        assert about["share"] == len(labels) / len(table)
        assert {c: n for c, n in about["classes"].items() if n} == Counter(labels)
        shares = {c: n / len(labels) for c, n in about["classes"].items()}
        assert about["class_shares"] == shares
        assert about["groups"] == len(set(found[split]["who"].to_pylist()))


def messages(division):
    return [finding["message"] for finding in division.report["findings"]]


def test_a_class_that_a_split_lacks_is_a_finding(folder):
    table = rows(5)
    labels = ["rare", *(["no", "yes"] * 60)[1:]]
    table = table.set_column(3, "y", pa.array(labels))
    division = divide(write(folder, table), DATA, SplitConfig())
    assert messages(division) == [
        "val has no row of the classes 'rare'",
        "test has no row of the classes 'rare'",
    ]


def test_an_embargo_that_drops_nothing_is_a_finding(folder):
    config = SplitConfig(method="time", time_column="at", embargo="1s")
    *_, last = messages(divide(write(folder, rows(6)), DATA, config))
    assert last.startswith("the embargo of 1s drops no row")
    config = SplitConfig(method="time", time_column="at", embargo="3d")
    found = messages(divide(write(folder, rows(6)), DATA, config))
    assert not [message for message in found if "embargo" in message]


def test_sizes_that_groups_do_not_allow_are_a_finding(folder):
    table = rows(7)
    groups = pa.array(["big"] * 60 + ["x"] * 30 + ["y"] * 30)
    table = table.set_column(4, "who", groups)
    division = divide(write(folder, table), DATA, SplitConfig(**SETTINGS["group"]))
    assert "val has 25.0% of the rows; 10.0% were wanted" in messages(division)


def test_rows_without_a_group_are_placed_one_by_one_and_counted(folder):
    groups = pa.array([*([""] * 60), *(["x"] * 30), *(["y"] * 30)])
    table = rows(8).set_column(4, "who", groups)
    config = SplitConfig(**SETTINGS["group"])
    division = divide(write(folder, table), DATA, config)
    assert set(division.sides[:60].tolist()) == {0, 1, 2}
    assert division.report["groups"]["rows_without_group"] == 60
    assert "60 rows have no 'who' and were placed one by one" in messages(division)
    order = np.random.default_rng(8).permutation(120)
    again = divide(write(folder, table.take(order)), DATA, config)
    assert again.sides.tolist() == division.sides[order].tolist()


@pytest.mark.parametrize(
    ("settings", "change", "part"),
    [
        ({}, lambda table: table.slice(0, 2), "val would get no rows"),
        (
            SETTINGS["group"],
            lambda t: t.set_column(4, "who", pa.array(["a", "b"] * 60)),
            "stays together has 60",
        ),
        (
            {**SETTINGS["time"], "embargo": "365d"},
            lambda table: table,
            "embargo of 365d drops",
        ),
    ],
)
def test_a_split_without_rows_is_refused(folder, settings, change, part):
    source = write(folder, change(rows(8)))
    with pytest.raises(SchemaError, match=part):
        divide(source, DATA, SplitConfig(**settings))


@pytest.mark.parametrize("count", [100, 121, 240])
def test_a_file_that_changes_meanwhile_is_refused(folder, count):
    division = divide(write(folder, rows(9)), DATA, SplitConfig())
    write(folder, rows(9, count))
    with pytest.raises(ArtifactError, match="changed while it was read"):
        list(division.batches("train"))
