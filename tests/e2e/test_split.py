"""From one raw file to three, and on to typed tables."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.schema import SPLITS
from tabweave.tables.files import RawTable, write_rows

ROWS = {"train": 60, "val": 20, "test": 20}


@pytest.fixture
def project(make_project, tmp_path):
    """A project whose demo rows lie in one file, with a day for each."""
    project = make_project(tmp_path / "project", rows=ROWS)
    tables = [
        pa.Table.from_batches(RawTable(path, "source").batches())
        for path in sorted(project.data("01_raw").glob("*/marketplace.csv"))
    ]
    table = pa.concat_tables(tables)
    days = [f"2024-{1 + row // 28:02d}-{1 + row % 28:02d}" for row in range(len(table))]
    table = table.append_column("day", pa.array(days))
    write_rows(project.data("all.csv"), iter(table.to_batches()), table.schema)
    pq.write_table(table, project.data("all.parquet"))
    return project


def report(project):
    return json.loads(project.data("08_reporting/split_report.json").read_bytes())


def ids(project, folder="01_raw/split", name="all.csv"):
    return {
        split: pa.Table.from_batches(
            RawTable(project.data(f"{folder}/{split}/{name}"), split).batches(
                ["order_id"]
            )
        )["order_id"].to_pylist()
        for split in SPLITS
    }


def test_a_split_file_can_be_loaded(project):
    done = project.ran("--pipelines=split", "--params=split.source=data/all.csv")
    assert done.out.splitlines()[0].endswith("environment base: split")
    assert "70 / 10 / 20 rows (train / val / test)" in done.out
    found = ids(project)
    assert {split: len(own) for split, own in found.items()} == {
        split: about["rows"] for split, about in report(project)["splits"].items()
    }
    project.ran("--pipelines=load", "--params=data_dir=data/01_raw/split")
    for split, own in found.items():
        table = pq.read_table(project.data(f"02_intermediate/{split}.parquet"))
        assert table["order_id"].to_pylist() == own


def test_splits_again_from_another_format_but_never_over_a_user_s_file(project):
    project.ran("--pipelines=split", "--params=split.source=data/all.csv")
    found = ids(project)
    project.ran("--pipelines=split", "--params=split.source=data/all.parquet")
    assert ids(project, name="all.parquet") == found
    assert not project.data("01_raw/split/train/all.csv").exists()
    project.data("01_raw/split/mine.csv").write_text("x\n", encoding="utf-8")
    before = project.files()
    done = project.run("--pipelines=split", "--params=split.source=data/all.csv")
    assert done.code == 1
    assert "mine.csv was not written by the split" in done.err
    assert "Traceback" not in done.text
    assert {n: b for n, b in project.files().items() if "01_raw" in n} == {
        n: b for n, b in before.items() if "01_raw" in n
    }


def test_by_time_with_an_embargo(project):
    by_time = "split.method=time,split.time_column=day,split.embargo=3d"
    project.ran(
        "--pipelines=split",
        f"--params=split.source=data/all.csv,split.output=data/by_time,{by_time}",
    )
    found = report(project)
    assert found["dropped_by_embargo"] == 4
    assert {s: about["rows"] for s, about in found["splits"].items()} == {
        "train": 68,
        "val": 8,
        "test": 20,
    }
    assert sum(map(len, ids(project, "by_time").values())) == 96


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ("", "split.source is not set"),
        ("split.source=data/gone.csv", "there is no such file"),
        ("split.source=data/all.csv,split.method=group", "'group' needs group_column"),
        (
            "split.source=data/all.csv,split.method=group,split.group_column=seller",
            "Did you mean 'seller_id'?",
        ),
    ],
)
def test_what_is_wrong_is_said_on_one_screen(project, params, part):
    before = project.files()
    options = [f"--params={params}"] if params else []
    done = project.run("--pipelines=split", *options)
    assert done.code == 1
    assert part in done.err
    assert "Traceback" not in done.text
    assert len(done.text.splitlines()) < 25
    assert project.files() == before
