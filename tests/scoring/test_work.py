from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import ArtifactError
from tabweave.scoring import ScoreConfig, Scorer
from tabweave.scoring.input_file import InputFile
from tabweave.scoring.parts import opened_parts
from tabweave.scoring.work import Work, windows_of
from tabweave.tables.files import RawTable

LINES = ["id,note,shop,price,more", "1,a,a,1,x", "2,ee,b,dear,y", "3,,,,z", "4,i,a,2,"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def work(path, good_bundle, tmp_path):
    scorer = Scorer.open(good_bundle, threads=1)
    raw = RawTable(path, "input").pinned()
    file = InputFile(raw, scorer.reads, scorer.rules)
    config = ScoreConfig(window_rows=3)
    with opened_parts(tmp_path / "out.csv", {}, overwrite=False) as parts:
        yield Work(file, scorer, parts, config)


def test_windows_become_parts_and_parts_the_rows(work, bundle_kit):
    assert work.score(4, progress=False) == 0
    assert [row in work.parts for row in range(4)] == [True, False, False, True]
    found = pa.Table.from_batches(list(work.scored()), work.output_schema())
    assert found["id"].to_pylist() == ["1", "3", "4"]
    assert found["more"].to_pylist() == ["x", "z", ""]
    rows = [("a", "a", 1), ("", "", None), ("i", "a", 2)]
    expected = [bundle_kit.answer(*row)[1] for row in rows]
    assert np.allclose(found["prob_yes"].to_numpy(), expected, atol=1e-6)


def test_what_is_there_is_not_scored_again(work, monkeypatch):
    work.score(4, progress=False)
    monkeypatch.setattr(work.scorer, "predict", None)
    assert work.score(4, progress=False) == 4


def test_rejects_have_number_reason_and_cells(work):
    work.score(4, progress=False)
    (batch,) = work.rejects()
    assert batch.schema == work.rejects_schema()
    row = batch.to_pylist()[0]
    assert row["reject_row"] == 2
    assert (
        "numeric column 'price' holds cells that are not numbers"
        in row["reject_reason"]
    )
    assert (row["id"], row["price"], row["more"]) == ("2", "dear", "y")


def test_a_window_of_rejects_alone_is_a_window(work, path):
    path.write_text("\n".join([*LINES[:1], *[LINES[2]] * 4]) + "\n", encoding="utf-8")
    file = replace(work.file, raw=RawTable(path, "input"))
    changed = replace(work, file=file)
    changed.score(4, progress=False)
    assert sum(batch.num_rows for batch in changed.scored()) == 0
    assert sum(batch.num_rows for batch in changed.rejects()) == 4


def test_a_file_that_changes_is_noticed_before_anything_is_kept(work, path):
    path.write_text("\n".join([*LINES, "5,o,a,1,"]) + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="changed while it was read"):
        work.score(5, progress=False)
    assert 0 not in work.parts


def test_a_file_that_changes_later_is_noticed_with_the_last_row(work, path):
    work.score(4, progress=False)
    path.write_text("\n".join([*LINES[:4], "4,i,a,3,"]) + "\n", encoding="utf-8")
    for rows in (work.scored(), work.rejects()):
        with pytest.raises(ArtifactError, match="changed while it was read"):
            list(rows)


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
