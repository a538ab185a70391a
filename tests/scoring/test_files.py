import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.bundle import Sample
from tabweave.errors import ArtifactError, ConfigError, SchemaError
from tabweave.scoring import ScoreConfig, score_file
from tabweave.scoring.parts import parts_folder
from tabweave.scoring.work import Work
from tabweave.tables.files import FORMATS, RawTable, write_rows

CONFIG = ScoreConfig(threads=1, window_rows=7, batch_rows=3)
COUNT = 40


def table(count=COUNT):
    """Rows with an id, all that the model reads, and columns that it does not."""
    return pa.table(
        {
            "more": [f"m{n}" for n in range(count)],
            "id": [f"{n:05d}" for n in range(count)],
            "note": ["aeé日x"[: n % 6] * (n % 11) for n in range(count)],
            "shop": ["ab?"[n % 3] for n in range(count)],
            "price": [f"{n}.50" if n % 5 else "NA" for n in range(count)],
            "quote": ['say "hi", \n ok' if n % 2 else "" for n in range(count)],
        }
    )


def written(folder, rows, kind, name="in"):
    path = folder / f"{name}.{kind}"
    write_rows(path, iter(rows.to_batches()), rows.schema)
    return path


def read(file):
    raw = file if isinstance(file, RawTable) else RawTable(file, "x")
    return pa.Table.from_batches(list(raw.batches()), raw.schema())


def expected(kit, rows):
    number = {"NA": None}
    return [
        kit.answer(r["note"], r["shop"], number.get(r["price"], r["price"] and 0))
        if r["price"] in number
        else kit.answer(r["note"], r["shop"], float(r["price"]))
        for r in rows.to_pylist()
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_order_and_cells_stay_and_predictions_come(
    good_bundle, bundle_kit, tmp_path, kind
):
    source = written(tmp_path, table(), kind)
    report = score_file(good_bundle, source, tmp_path / f"out.{kind}", CONFIG)
    found = read(tmp_path / f"out.{kind}")
    assert found.drop_columns(["prob_no", "prob_yes", "predicted"]).equals(table())
    yes = found["prob_yes"].cast(pa.float64()).to_numpy()
    wanted = np.array(expected(bundle_kit, table()))[:, 1]
    assert np.abs(yes - wanted).max() < 1e-6
    assert found["predicted"].to_pylist() == [
        "yes" if p > 0.5 else "no" for p in wanted
    ]
    assert (report.rows, report.scored, report.rejected, report.resumed) == (
        40,
        40,
        0,
        0,
    )
    assert "40 of 40 rows scored" in report.sentence
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"in.{kind}", f"out.{kind}"]


def test_a_typed_parquet_file_keeps_its_types_and_metadata(good_bundle, tmp_path):
    rows = pa.table(
        {
            "when": pa.array([1, 2], pa.timestamp("ms")),
            "tags": [["a"], None],
            "note": pa.array(["a", None]),
            "shop": pa.array(["a", "a"]).dictionary_encode(),
            "price": pa.array([1, None], pa.int16()),
            "raw": pa.array([b"\xff", b""]),
        }
    ).replace_schema_metadata({"own": "kept"})
    pq.write_table(rows, tmp_path / "in.parquet")
    score_file(good_bundle, tmp_path / "in.parquet", tmp_path / "out.parquet", CONFIG)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(rows.column_names).cast(rows.schema).equals(rows)
    assert found.schema.metadata[b"own"] == b"kept"
    assert found.schema.field("prob_yes").type == pa.float32()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_rows_gives_a_file_without_rows(good_bundle, tmp_path, kind):
    source = written(tmp_path, table().slice(0, 0), kind)
    report = score_file(good_bundle, source, tmp_path / f"out.{kind}", CONFIG)
    assert report.rows == 0
    names = [*table().column_names, "prob_no", "prob_yes", "predicted"]
    assert RawTable(tmp_path / f"out.{kind}", "x").columns() == names


@given(
    sizes=st.tuples(st.integers(4, 50), st.integers(20, 999), st.integers(1, 50)),
    order=st.permutations(range(COUNT)),
)
@settings(max_examples=8, deadline=None)
def test_sizes_of_windows_and_the_order_of_rows_do_not_matter(
    good_bundle, tmp_path_factory, sizes, order
):
    folder = tmp_path_factory.mktemp("sizes")
    source = written(folder, table(), "parquet")
    score_file(good_bundle, source, folder / "one.parquet", CONFIG)
    mixed = written(folder, table().take(order), "parquet", "mixed")
    rows, size, batch = sizes
    config = ScoreConfig(
        threads=1,
        window_rows=rows,
        window_bytes=size,
        batch_rows=batch,
        batch_bytes=size,
    )
    score_file(good_bundle, mixed, folder / "two.parquet", config)
    one = read(folder / "one.parquet").take(order)
    two = read(folder / "two.parquet")
    names = ["id", "note", "price", "predicted"]
    assert one.select(names).equals(two.select(names))
    difference = one["prob_yes"].to_numpy() - two["prob_yes"].to_numpy()
    assert np.abs(difference).max() < 1e-6


# Rows that cannot be scored


def spoilt():
    """Rows 3 and 39 (counted from 1) have prices that are no numbers."""
    prices = table()["price"].to_pylist()
    prices[2], prices[38] = "dear", "1,5"
    return table().set_column(4, "price", pa.array(prices))


def test_a_bad_row_is_refused_before_anything_is_written(good_bundle, tmp_path):
    source = written(tmp_path, spoilt(), "csv")
    with pytest.raises(SchemaError, match="row 3: 'dear'; row 39: '1,5'"):
        score_file(good_bundle, source, tmp_path / "out.csv", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_in_are_rows_out_and_rejects(good_bundle, tmp_path, kind):
    source = written(tmp_path, spoilt(), kind)
    rejects = tmp_path / f"rejects.{kind}"
    config = CONFIG.model_copy(update={"rejects": str(rejects)})
    report = score_file(good_bundle, source, tmp_path / f"out.{kind}", config)
    out, left = read(tmp_path / f"out.{kind}"), read(rejects)
    assert (report.rows, report.scored, report.rejected) == (40, 38, 2)
    assert [int(n) for n in left["reject_row"].to_pylist()] == [3, 39]
    assert all("price" in reason for reason in left["reject_reason"].to_pylist())
    assert left["price"].to_pylist() == ["dear", "1,5"]
    both = set(out["id"].to_pylist()) | set(left["id"].to_pylist())
    assert both == set(table()["id"].to_pylist())
    assert out["id"].to_pylist() == sorted(out["id"].to_pylist())
    score_file(good_bundle, written(tmp_path, table(), kind, "good"),
               tmp_path / f"all.{kind}", CONFIG)  # fmt: skip
    whole = {row["id"]: row for row in read(tmp_path / f"all.{kind}").to_pylist()}
    for row in out.to_pylist():
        assert abs(float(row["prob_yes"]) - float(whole[row["id"]]["prob_yes"])) < 1e-6


def test_without_bad_rows_the_rejects_are_a_header(good_bundle, tmp_path):
    source = written(tmp_path, table(), "csv")
    config = CONFIG.model_copy(update={"rejects": str(tmp_path / "left.csv")})
    score_file(good_bundle, source, tmp_path / "out.csv", config)
    (header,) = csv.reader((tmp_path / "left.csv").read_text("utf-8").splitlines())
    assert header == ["reject_row", "reject_reason", *table().column_names]


def test_bytes_that_are_no_text_are_rejected_with_their_row(good_bundle, tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b"note,shop,price\na,a,1\ncaf\xe9,a,2\n")
    config = CONFIG.model_copy(update={"rejects": str(tmp_path / "left.csv")})
    report = score_file(good_bundle, source, tmp_path / "out.csv", config)
    assert report.rejected == 1
    assert "not UTF-8" in (tmp_path / "left.csv").read_text("utf-8")


@pytest.fixture(scope="module")
def overflowing(bundle_kit, tmp_path_factory):
    """A bundle whose model gives NaN for prices near the largest float32."""
    steep = bundle_kit.model(graph=bundle_kit.graph(weight=-30.0))
    rows = [{"note": "", "shop": "a", "price": 1.0}]
    sample = Sample.of(rows, ("no", "yes"), bundle_kit.answers(rows, -30.0))
    return bundle_kit.write(
        tmp_path_factory.mktemp("overflowing") / "b",
        pipeline=steep.SerializeToString(),
        sample=sample,
    )


def with_large_prices():
    """Rows 9 and 31 (counted from 1) are beyond the model, and row 3 is no number."""
    prices = table()["price"].to_pylist()
    prices[8], prices[30], prices[2] = "3.4e38", "-3.3e38", "dear"
    return table().set_column(4, "price", pa.array(prices))


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_without_a_finite_answer_are_bad_rows_of_their_own(
    overflowing, tmp_path, kind
):
    source = written(tmp_path, with_large_prices(), kind)
    rejects = tmp_path / f"rejects.{kind}"
    config = CONFIG.model_copy(update={"rejects": str(rejects)})
    report = score_file(overflowing, source, tmp_path / f"out.{kind}", config)
    assert (report.rows, report.scored, report.rejected) == (40, 37, 3)
    left = read(rejects)
    assert [int(n) for n in left["reject_row"].to_pylist()] == [3, 9, 31]
    reasons = left["reject_reason"].to_pylist()
    assert "not numbers" in reasons[0]
    assert all("no finite answer" in reason for reason in reasons[1:])
    assert left["price"].to_pylist() == ["dear", "3.4e38", "-3.3e38"]
    out = read(tmp_path / f"out.{kind}")
    assert out["id"].to_pylist() == [
        f"{n:05d}" for n in range(40) if n not in (2, 8, 30)
    ]
    assert not any("nan" in str(p) for p in out["prob_yes"].to_pylist())


def test_without_rejects_they_refuse_the_file_and_what_was_scored_stays(
    overflowing, tmp_path
):
    rows = with_large_prices().filter(pa.array([n != 2 for n in range(COUNT)]))
    source, output = written(tmp_path, rows, "csv"), tmp_path / "out.csv"
    for _ in range(2):  # the second time from the parts alone
        with pytest.raises(SchemaError) as caught:
            score_file(overflowing, source, output, CONFIG)
        message = str(caught.value)
        assert "no finite answer" in message
        assert "row 8: {'price': 3.39" in message
        assert "row 30: {'price': -3.29" in message
        assert "--rejects" in message
        assert not output.exists()
    config = CONFIG.model_copy(update={"rejects": str(tmp_path / "left.csv")})
    report = score_file(overflowing, source, output, config)
    assert (report.scored, report.rejected, report.resumed) == (37, 2, 39)


def test_a_machine_that_answers_otherwise_is_refused_before_anything_is_written(
    bundle_kit, tmp_path
):
    rows = [{"note": "", "shop": "a", "price": 1.0}]
    sample = Sample.of(rows, ("no", "yes"), np.array([[0.5, 0.5]]))
    folder = bundle_kit.write(tmp_path / "b", sample=sample)
    source = written(tmp_path, table(), "csv")
    with pytest.raises(ArtifactError, match="sample row 1 gives"):
        score_file(folder, source, tmp_path / "out.csv", CONFIG)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "in.csv"}


def test_a_bundle_without_a_sample_is_scored_with_one_warning(
    bundle_kit, tmp_path, caplog
):
    folder = bundle_kit.write(tmp_path / "b", sample=None)
    source = written(tmp_path, table(), "csv")
    assert score_file(folder, source, tmp_path / "out.csv", CONFIG).scored == COUNT
    (warning,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "has no sample" in warning.getMessage()


# Files that must not be touched


def test_files_that_exist_stay_unless_they_may_be_replaced(good_bundle, tmp_path):
    source = written(tmp_path, table(), "csv")
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ConfigError, match="exists; give another name"):
        score_file(good_bundle, source, tmp_path / "out.csv", CONFIG)
    assert (tmp_path / "out.csv").read_text() == "mine"
    config = CONFIG.model_copy(update={"overwrite": True})
    score_file(good_bundle, source, tmp_path / "out.csv", config)
    assert read(tmp_path / "out.csv").num_rows == COUNT


def test_the_input_is_never_changed(good_bundle, tmp_path):
    source = written(tmp_path, table(), "csv")
    before = (source.read_bytes(), source.stat().st_mtime_ns)
    score_file(good_bundle, source, tmp_path / "out.csv", CONFIG)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before


def test_there_is_no_room_for_the_predictions_twice(good_bundle, tmp_path):
    source = written(tmp_path, table(), "csv")
    score_file(good_bundle, source, tmp_path / "out.csv", CONFIG)
    with pytest.raises(SchemaError, match="has columns of these names"):
        score_file(good_bundle, tmp_path / "out.csv", tmp_path / "again.csv", CONFIG)


# Interruption

SCORE = """
import sys, time
from pathlib import Path
from tabweave.scoring import ScoreConfig, score_file
from tabweave.scoring.parts import Parts
bundle, source, output, pause, config = sys.argv[1:]
write = Parts.write
def slow(self, first_row, predictions):
    write(self, first_row, predictions)
    time.sleep(float(pause))
Parts.write = slow
score_file(Path(bundle), Path(source), Path(output),
           ScoreConfig.model_validate_json(config))
"""


def start(bundle, source, output, pause, config=CONFIG):
    command = [sys.executable, "-c", SCORE, str(bundle), str(source), str(output)]
    return subprocess.Popen([*command, str(pause), config.model_dump_json()])


def killed_after(windows, *arguments):
    """Starts a scoring and kills it when that many windows are on the disk."""
    output = arguments[2]
    with start(*arguments, 0.05) as process:
        deadline = time.monotonic() + 60
        while len(list(parts_folder(output).glob("row-*.arrow"))) < windows:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_killed_scoring_goes_on_to_the_same_bytes(good_bundle, tmp_path, kind):
    source, output = written(tmp_path, table(), kind), tmp_path / f"out.{kind}"
    score_file(good_bundle, source, tmp_path / f"whole.{kind}", CONFIG)
    for windows in (1, 3):
        killed_after(windows, good_bundle, source, output)
        assert not output.exists()
    report = score_file(good_bundle, source, output, CONFIG)
    assert report.resumed >= 21
    assert output.read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()
    assert not parts_folder(output).exists()


def interrupted(monkeypatch, bundle, source, output, config=CONFIG, *, at=2):
    """A scoring that ends by an error when some windows are there."""
    from tabweave.scoring.parts import Parts

    write, calls = Parts.write, []

    def failing(self, first_row, predictions):
        calls.append(first_row)
        if len(calls) > at:
            raise KeyboardInterrupt
        write(self, first_row, predictions)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            score_file(bundle, source, output, config)


@pytest.mark.parametrize(
    "change", ["input", "bundle", "window_rows", "batch_rows", "int8"]
)
def test_parts_of_anything_else_are_refused_until_they_may_go(
    int8_bundle, bundle_kit, tmp_path, monkeypatch, change
):
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    interrupted(monkeypatch, int8_bundle, source, output)
    bundle, config = int8_bundle, CONFIG
    if change == "input":
        written(tmp_path, table().slice(1), "csv")
    elif change == "bundle":
        bundle = bundle_kit.write(tmp_path / "other", metrics={"test/auroc": 0.5})
    else:
        config = config.model_copy(update={change: True if change == "int8" else 5})
    with pytest.raises(ConfigError, match=f"parts of another scoring: .*{change}"):
        score_file(bundle, source, output, config)
    config = config.model_copy(update={"overwrite": True})
    assert score_file(bundle, source, output, config).resumed == 0


def test_a_file_that_was_only_touched_is_the_same_file(
    good_bundle, tmp_path, monkeypatch
):
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    interrupted(monkeypatch, good_bundle, source, output)
    os.utime(source)
    assert score_file(good_bundle, source, output, CONFIG).resumed == 14


# Kills itself when it is about to rename to, or to remove, a file of this name.
AT_A_NAME = """
import os, signal, sys
from pathlib import Path
from tabweave.scoring import ScoreConfig, score_file
event, name, bundle, source, output, config = sys.argv[1:]
def watch(seen, given):
    if seen == event and Path(os.fsdecode(given[event == "os.rename"])).name == name:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
score_file(Path(bundle), Path(source), Path(output),
           ScoreConfig.model_validate_json(config))
"""


@pytest.mark.parametrize(
    ("event", "name", "there", "resumed"),
    [
        ("os.rename", "left.csv", set(), 40),
        ("os.rename", "out.csv", {"left.csv"}, 40),
        ("os.remove", "row-000000000000.arrow", {"left.csv", "out.csv"}, None),
        ("os.remove", "claims.json", {"left.csv", "out.csv"}, 0),
    ],
)
def test_a_run_that_was_killed_at_its_very_end_ends_it(
    good_bundle, tmp_path, event, name, there, resumed
):
    source, output = written(tmp_path, spoilt(), "csv"), tmp_path / "out.csv"
    left = tmp_path / "left.csv"
    whole = CONFIG.model_copy(update={"rejects": str(tmp_path / "rejects.csv")})
    score_file(good_bundle, source, tmp_path / "whole.csv", whole)
    config = CONFIG.model_copy(update={"rejects": str(left)})

    command = [sys.executable, "-c", AT_A_NAME, event, name, str(good_bundle)]
    files = [str(source), str(output), config.model_dump_json()]
    done = subprocess.run([*command, *files], check=False)
    assert done.returncode == -signal.SIGKILL
    assert {p.name for p in (left, output) if p.exists()} == there

    report = score_file(good_bundle, source, output, config)
    if resumed is not None:
        assert report.resumed == resumed
        assert ("40 were there from before" in report.sentence) == (resumed == 40)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert left.read_bytes() == (tmp_path / "rejects.csv").read_bytes()
    names = {"in.csv", "out.csv", "left.csv", "whole.csv", "rejects.csv"}
    assert {path.name for path in tmp_path.iterdir()} == names
    with pytest.raises(ConfigError, match="exists"):
        score_file(good_bundle, source, output, config)


def test_a_damaged_part_stops_the_end_and_nothing_is_written(
    good_bundle, tmp_path, monkeypatch
):
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    interrupted(monkeypatch, good_bundle, source, output)
    part = parts_folder(output) / "row-000000000007.arrow"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"row-000000000007\.arrow is missing, dam"):
        score_file(good_bundle, source, output, CONFIG)
    assert not output.exists()


def test_the_record_says_what_the_parts_were_made_from(
    good_bundle, tmp_path, monkeypatch
):
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    interrupted(monkeypatch, good_bundle, source, output)
    record = json.loads((parts_folder(output) / "record.json").read_text("utf-8"))
    assert set(record) == {"input", "bundle", "options", "versions"}
    assert record["options"]["threads"] == 1


def test_the_bar_goes_to_stderr_and_only_on_request(good_bundle, tmp_path, capsys):
    source = written(tmp_path, table(), "csv")
    score_file(good_bundle, source, tmp_path / "quiet.csv", CONFIG)
    assert capsys.readouterr() == ("", "")
    score_file(good_bundle, source, tmp_path / "out.csv", CONFIG, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "scoring: 100%" in err


# 8-bit integers

INT8 = CONFIG.model_copy(update={"int8": True})


def yes_of(path):
    return read(path)["prob_yes"].cast(pa.float64()).to_numpy()


def test_int8_answers_where_it_was_chosen(int8_bundle, bundle_kit, tmp_path):
    source = written(tmp_path, table(), "csv")
    for config, weight in ((CONFIG, -0.03), (INT8, bundle_kit.int8_weight)):
        output = tmp_path / f"{config.int8}.csv"
        score_file(int8_bundle, source, output, config)
        rows = [
            {**row, "price": None if row["price"] == "NA" else float(row["price"])}
            for row in table().to_pylist()
        ]
        wanted = bundle_kit.answers(rows, weight)[:, 1]
        assert np.abs(yes_of(output) - wanted).max() < 1e-6


@pytest.mark.parametrize(("first", "then"), [(CONFIG, INT8), (INT8, CONFIG)])
def test_answers_of_two_pipelines_are_never_mixed(
    int8_bundle, tmp_path, monkeypatch, first, then
):
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    score_file(int8_bundle, source, tmp_path / "whole.csv", first)
    interrupted(monkeypatch, int8_bundle, source, output, first)
    words = rf"options\.int8: {first.int8} -> {then.int8}"
    with pytest.raises(ConfigError, match=words):
        score_file(int8_bundle, source, output, then)
    assert not output.exists()
    assert score_file(int8_bundle, source, output, first).resumed == 14
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_processor_that_answers_otherwise_in_int8_writes_nothing(
    bundle_kit, tmp_path
):
    bundle = bundle_kit.write_int8(tmp_path / "b", shift=0.05)
    source, output = written(tmp_path, table(), "csv"), tmp_path / "out.csv"
    with pytest.raises(ArtifactError, match="this processor may saturate"):
        score_file(bundle, source, output, INT8)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "in.csv"}
    score_file(bundle, source, output, CONFIG)


# ru_maxrss would begin with the memory of the process that starts this one.
PEAK = """
import sys
from tabweave.scoring import ScoreConfig, score_file
bundle, source, output = sys.argv[1:]
score_file(bundle, source, output, ScoreConfig(threads=1))
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM:"))
print(int(peak.split()[1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(good_bundle, tmp_path, kind):
    peaks, sizes = [], []
    for times in (10, 25):
        source = written(tmp_path, table(50_000 * times), kind, f"in{times}")
        done = subprocess.run(
            [
                *(sys.executable, "-c", PEAK, str(good_bundle)),
                *(str(source), str(tmp_path / f"out{times}.{kind}")),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(done.stdout))
        sizes.append(source.stat().st_size / 2**20)
    # Arrow reads up to 32 blocks of 16 MiB ahead of what is parsed.
    grown = peaks[1] - peaks[0] - (sizes[1] - sizes[0])
    assert grown < 80, (peaks, sizes)


# Many files


def parts_of(folder, rows, kind, names):
    """The rows in files of these names, of unequal sizes; one has no row."""
    edges = [0, 13, 13, *range(20, 20 + len(names) - 3), rows.num_rows]
    for name, (start, end) in zip(names, pairwise(edges), strict=True):
        written(folder, rows.slice(start, end - start), kind, name)
    return folder


SPARK = [f"part-{n:05d}-0f3e" for n in range(4)]
HIVE = [f"day={n}/part-0" for n in range(4)]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("names", [SPARK, HIVE], ids=["spark", "hive"])
def test_parts_come_back_in_their_layout_with_the_scores_of_one_file(
    good_bundle, tmp_path, kind, names
):
    one = written(tmp_path, table(), kind)
    score_file(good_bundle, one, tmp_path / f"one.{kind}", CONFIG)
    source = parts_of(tmp_path / "in", table(), kind, names)
    (source / "_SUCCESS").write_text("")
    report = score_file(good_bundle, source, tmp_path / "out", CONFIG)
    assert "40 of 40 rows scored in 4 files" in report.sentence
    files = [p for p in sorted((tmp_path / "out").rglob("*")) if p.is_file()]
    assert [str(p.relative_to(tmp_path / "out")) for p in files] == [
        f"{name}.{kind}" for name in names
    ]
    whole, parts = read(tmp_path / f"one.{kind}"), list(map(read, files))
    assert [part.num_rows for part in parts] == [13, 0, 7, 20]
    found = pa.concat_tables(parts)
    cells = [name for name in whole.column_names if name != "prob_yes"]
    cells.remove("prob_no")
    assert found.select(cells).equals(whole.select(cells))
    for name in ("prob_no", "prob_yes"):
        both = [np.array(t[name].to_pylist(), float) for t in (found, whole)]
        assert np.abs(both[0] - both[1]).max() < 1e-6
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["in", f"in.{kind}", f"one.{kind}", "out"]
    )


def test_a_pattern_scores_files_of_any_name(good_bundle, tmp_path):
    for name in ("january", "february", "notes"):
        written(tmp_path / "in", table(5), "csv", name)
    pattern = tmp_path / "in" / "*ary.csv"
    score_file(good_bundle, pattern, tmp_path / "out", CONFIG)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["february.csv", "january.csv"]
    with pytest.raises(SchemaError, match=r"not parts of one table .*pattern"):
        score_file(good_bundle, tmp_path / "in", tmp_path / "other", CONFIG)


def test_a_folder_is_a_column_that_the_model_reads_and_no_column_is_added(
    good_bundle, tmp_path
):
    rows = table(9)
    score_file(good_bundle, written(tmp_path, rows, "csv"), tmp_path / "1.csv", CONFIG)
    expected = {r["id"]: r["prob_yes"] for r in read(tmp_path / "1.csv").to_pylist()}
    for shop in "ab?":
        same = rows.filter(pc.equal(rows["shop"], shop)).drop_columns("shop")
        written(tmp_path / "in" / f"shop={quote(shop, safe='')}", same, "csv", "x")
    score_file(good_bundle, tmp_path / "in", tmp_path / "out", CONFIG)
    found = [r for p in (tmp_path / "out").rglob("*.csv") for r in read(p).to_pylist()]
    assert len(found) == 9
    assert all("shop" not in row for row in found)
    for row in found:
        assert abs(float(row["prob_yes"]) - float(expected[row["id"]])) < 1e-6


def test_a_column_that_contradicts_its_folder_is_a_bad_row(good_bundle, tmp_path):
    written(tmp_path / "in" / "shop=a", table(3), "csv", "x")
    with pytest.raises(
        SchemaError, match=r"another value than the folder, shop=a: row 2"
    ):
        score_file(good_bundle, tmp_path / "in", tmp_path / "out", CONFIG)


@pytest.mark.parametrize(
    "value", ["a%0Ab", "a%0D%0Ab", "a%2Cb", "a%E2%80%A8b", "v" * 200]
)
def test_rejects_without_quotes_can_be_written_whatever_a_folder_says(
    good_bundle, tmp_path, value
):
    (tmp_path / "in" / f"shop={value}").mkdir(parents=True)
    source = tmp_path / "in" / f"shop={value}" / "x.csv"
    source.write_text("note,shop,price\nx,a,1\n")
    left = tmp_path / "left"
    options = {"rejects": str(left), "quoting": "none"}
    config = CONFIG.model_copy(update=options)
    report = score_file(good_bundle, tmp_path / "in", tmp_path / "out", config)
    assert (report.rows, report.rejected) == (1, 1)
    (file,) = left.rglob("x.csv")
    (row,) = read(RawTable(file, "x", quoting="none")).to_pylist()
    assert "another value than the folder; shop=" in row["reject_reason"]
    assert len(row["reject_reason"]) < 200


def test_rejects_of_parts_have_the_same_layout_and_rows_of_their_files(
    good_bundle, tmp_path
):
    config = CONFIG.model_copy(update={"rejects": str(tmp_path / "left")})
    rows = table().set_column(
        4, "price", [["dear" if n == 15 else "1" for n in range(40)]]
    )
    source = parts_of(tmp_path / "in", rows, "csv", SPARK)
    with pytest.raises(
        SchemaError, match=rf"{SPARK[2]}.csv cannot be .*\n.*row 3: 'dear'"
    ):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    report = score_file(good_bundle, source, tmp_path / "out", config)
    assert (report.rows, report.scored, report.rejected) == (40, 39, 1)
    left = {name: read(tmp_path / "left" / f"{name}.csv").to_pylist() for name in SPARK}
    assert [len(found) for found in left.values()] == [0, 0, 1, 0]
    assert (left[SPARK[2]][0]["reject_row"], left[SPARK[2]][0]["id"]) == ("3", "00015")
    assert sum(read(tmp_path / "out" / f"{n}.csv").num_rows for n in SPARK) == 39


def test_what_is_wrong_in_several_files_comes_in_one_message(good_bundle, tmp_path):
    rows = table().set_column(4, "price", [["dear"] * 40])
    source = parts_of(tmp_path / "in", rows, "csv", SPARK)
    with pytest.raises(SchemaError) as caught:
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    assert [name for name in SPARK if f"{name}.csv cannot" in str(caught.value)] == [
        SPARK[0],
        *SPARK[2:],
    ]
    (source / f"{SPARK[1]}.csv").write_text("note,shop\n")
    with pytest.raises(SchemaError, match=rf"{SPARK[1]}.csv: lacks the columns 'more'"):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_scoring_of_parts_goes_on(good_bundle, tmp_path, monkeypatch):
    source = parts_of(tmp_path / "in", table(), "csv", SPARK)
    score_file(good_bundle, source, tmp_path / "whole", CONFIG)
    full = OSError(errno.ENOSPC, "full")
    path = tmp_path / "in" / f"{SPARK[3]}.csv"
    content = path.read_bytes()
    written_parts = parts_folder(tmp_path / "out")
    stop = Work.score

    def stopping(work, rows, *, progress):
        if work.file.raw.path == path:
            raise full
        return stop(work, rows, progress=progress)

    monkeypatch.setattr(Work, "score", stopping)
    with pytest.raises(OSError, match="full"):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    assert len(list(written_parts.glob("row-*"))) == 3
    path.write_bytes(content + content.splitlines(keepends=True)[1])
    with pytest.raises(ConfigError, match=r"parts of another scoring: .scoring\.input"):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    path.write_bytes(content)
    report = score_file(good_bundle, source, tmp_path / "out", CONFIG)
    assert report.resumed == 20
    for name in SPARK:
        both = [tmp_path / folder / f"{name}.csv" for folder in ("out", "whole")]
        assert both[0].read_bytes() == both[1].read_bytes()
    assert not written_parts.exists()


def test_a_part_that_comes_while_parts_are_scored_is_noticed(
    good_bundle, tmp_path, monkeypatch
):
    source = parts_of(tmp_path / "in", table(), "csv", SPARK)
    score = Work.score

    def adding(work, rows, *, progress):
        written(tmp_path / "in", table(2), "csv", "part-00009")
        return score(work, rows, progress=progress)

    monkeypatch.setattr(Work, "score", adding)
    with pytest.raises(ArtifactError, match=r"'part-00009\.csv' came or went"):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_scores_is_replaced_on_request_if_it_holds_nothing_else(
    good_bundle, tmp_path
):
    source = parts_of(tmp_path / "in", table(), "csv", SPARK)
    (tmp_path / "out").mkdir()
    score_file(good_bundle, source, tmp_path / "out", CONFIG)
    with pytest.raises(ConfigError, match="exists; give another name"):
        score_file(good_bundle, source, tmp_path / "out", CONFIG)
    again = CONFIG.model_copy(update={"overwrite": True})
    score_file(good_bundle, source, tmp_path / "out", again)
    (source / f"{SPARK[3]}.csv").unlink()
    with pytest.raises(ConfigError, match=rf"not of this scoring, '{SPARK[3]}.csv'"):
        score_file(good_bundle, source, tmp_path / "out", again)
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize("step", ["score", "scored"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_another_run_writes_into_the_folder_meanwhile_stays(
    good_bundle, tmp_path, monkeypatch, step, overwrite
):
    source = parts_of(tmp_path / "in", table(), "csv", SPARK)
    one, out = written(tmp_path, table(3), "csv"), tmp_path / "out"
    config = CONFIG.model_copy(update={"overwrite": overwrite})
    if overwrite:
        score_file(good_bundle, source, out, CONFIG)
    real = getattr(Work, step)

    def another(work, *given, **options):
        monkeypatch.setattr(Work, step, real)
        out.mkdir(exist_ok=True)
        (out / "other.csv").write_bytes(one.read_bytes())
        return real(work, *given, **options)

    monkeypatch.setattr(Work, step, another)
    with pytest.raises(ConfigError, match=r"not of this scoring, 'other\.csv'"):
        score_file(good_bundle, source, out, config)
    assert (out / "other.csv").read_bytes() == one.read_bytes()
    (out / "other.csv").unlink()
    assert score_file(good_bundle, source, out, config).resumed == 40


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_folder_stays_a_link(good_bundle, tmp_path, there):
    source = parts_of(tmp_path / "in", table(), "csv", SPARK)
    link, real = tmp_path / "out", tmp_path / "disk" / "real"
    real.parent.mkdir()
    link.symlink_to("disk/real")
    if there:
        real.mkdir()
        (real / f"{SPARK[0]}.csv").write_text("old")
    config = CONFIG.model_copy(update={"overwrite": there})
    score_file(good_bundle, source, link, config)
    assert link.is_symlink()
    assert [p.name for p in sorted(real.iterdir())] == [f"{n}.csv" for n in SPARK]
    assert (real / f"{SPARK[0]}.csv").stat().st_size > 100
    assert [p.name for p in real.parent.iterdir()] == ["real"]


# Quotes


def stray(tmp_path, kind, notes=("a", '"b', "c", 'd"', "e")):
    """A file of a program that knows no quotes; two cells have a stray one."""
    d = "," if kind == "csv" else "\t"
    rows = [d.join([note, "a", str(n)]) for n, note in enumerate(notes)]
    path = tmp_path / f"in.{kind}"
    path.write_text("\n".join([d.join(["note", "shop", "price"]), *rows]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_file_that_reads_two_ways_is_refused_or_read_as_it_is_said(
    good_bundle, bundle_kit, tmp_path, kind, caplog
):
    source, out = stray(tmp_path, kind), tmp_path / f"out.{kind}"
    with pytest.raises(SchemaError, match=r"3 rows if .* 5 if .*--quoting"):
        score_file(good_bundle, source, out, CONFIG)
    config = CONFIG.model_copy(update={"quoting": "none"})
    assert score_file(good_bundle, source, out, config).scored == 5
    found = read(RawTable(out, "x", quoting="none"))
    assert found["note"].to_pylist() == ["a", '"b', "c", 'd"', "e"]
    wanted = [
        bundle_kit.answer(n, "a", p)[1] for p, n in enumerate(found["note"].to_pylist())
    ]
    assert np.allclose(
        [float(p) for p in found["prob_yes"].to_pylist()], wanted, atol=1e-6
    )
    config = CONFIG.model_copy(update={"quoting": "standard", "overwrite": True})
    assert score_file(good_bundle, source, out, config).scored == 3
    assert "first in rows 2." in caplog.text


def test_rejects_without_quotes_read_back(good_bundle, tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b'note,shop,price\n"a,a,dear\n\xff"b,b,1\n"c,a,2\n')
    out, rejects = tmp_path / "out.csv", tmp_path / "left.csv"
    config = CONFIG.model_copy(update={"quoting": "none", "rejects": str(rejects)})
    assert score_file(good_bundle, source, out, config).rejected == 2
    left = read(RawTable(rejects, "x", quoting="none"))
    assert left["note"].to_pylist() == ['"a', '\ufffd"b']
    assert [reason.split(" ")[-1] for reason in left["reject_reason"].to_pylist()]
    assert read(RawTable(out, "x", quoting="none"))["note"].to_pylist() == ['"c']


def test_a_quoted_header_under_the_wrong_switch_is_told(good_bundle, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text('"note","shop","price"\n"a","a",1\n')
    config = CONFIG.model_copy(update={"quoting": "none"})
    with pytest.raises(
        SchemaError, match="names are in quotes; read it with quoting=s"
    ):
        score_file(good_bundle, source, tmp_path / "out.csv", config)


def test_parquet_that_is_damaged_is_refused_by_name(good_bundle, tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(table(), source, compression="NONE", write_page_checksum=True)
    content = bytearray(source.read_bytes())
    content[content.index(b"m17")] ^= 1
    source.write_bytes(content)
    with pytest.raises(SchemaError, match=f"{source}: is damaged"):
        score_file(good_bundle, source, tmp_path / "out.parquet", CONFIG)
    assert not (tmp_path / "out.parquet").exists()
