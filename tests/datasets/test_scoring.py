import pytest
from kedro.io.core import DatasetError

from tabweave.datasets.scoring import (
    DeployedBundleDataset,
    ScoredFileDataset,
    ScoringInputDataset,
    ScoringOutput,
    ScoringOutputDataset,
)
from tabweave.errors import ConfigError, MissingDataError
from tabweave.scoring import ScoreConfig, score_file
from tabweave.tables.files import RawTable

METADATA = {"kedro-viz": {"layer": "raw"}}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("note,shop,price\na,a,1\nb,b,dear\n", encoding="utf-8")
    return path


def cause(call):
    with pytest.raises(DatasetError) as error:
        call()
    return error.value.__cause__


def test_a_bundle_is_handed_on_as_its_folder(tmp_path):
    entry = DeployedBundleDataset(path=str(tmp_path / "bundle"), metadata=METADATA)
    assert entry.load() == tmp_path / "bundle"
    assert entry.metadata == METADATA
    with pytest.raises(DatasetError, match="written by the export stage"):
        entry.save("x")


def test_the_input_is_a_handle_of_the_named_file(source):
    entry = ScoringInputDataset(path=str(source), metadata=METADATA)
    assert entry.load() == RawTable(source, "input")
    assert entry.preview(1)["data"] == [["a", "a", "1"]]
    with pytest.raises(DatasetError, match="never written"):
        entry.save("x")


def test_an_input_that_is_not_named_or_not_there_says_so(tmp_path):
    error = cause(ScoringInputDataset(path=None).load)
    assert isinstance(error, ConfigError)
    assert "score.input is not set" in str(error)
    error = cause(ScoringInputDataset(path=str(tmp_path / "gone.csv")).load)
    assert isinstance(error, MissingDataError)
    assert "gone.csv" in str(error)


def test_the_output_is_two_names_that_nobody_writes_to(tmp_path):
    path, rejects = tmp_path / "out.csv", str(tmp_path / "left.csv")
    entry = ScoringOutputDataset(path=str(path), rejects={"path": rejects})
    assert entry.load() == ScoringOutput(path, rejects)
    for none in (None, {"path": None}):
        assert ScoringOutputDataset(path="x", rejects=none).load().rejects is None
    with pytest.raises(DatasetError, match="written by scoring itself"):
        entry.save("x")


def test_a_saved_output_is_read_and_not_scored_again(source, good_bundle, tmp_path):
    entry = ScoredFileDataset(path=str(tmp_path / "out.csv"))
    config = ScoreConfig(threads=1, rejects=str(tmp_path / "left.csv"))
    report = score_file(good_bundle, source, entry.path, config)
    before = entry.path.stat().st_mtime_ns
    entry.save(report)
    assert entry.path.stat().st_mtime_ns == before
    assert entry.load().columns() == ["note", "shop", "price", *ADDED]
    assert entry.preview()["data"][0][:3] == ["a", "a", "1"]


ADDED = ["prob_no", "prob_yes", "predicted"]


def test_parts_become_a_folder_that_reads_as_one_table(good_bundle, tmp_path):
    for number in range(2):
        path = tmp_path / "in" / f"part-{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"note,shop,price\na,{number},1\n", encoding="utf-8")
    given = ScoringInputDataset(path=str(tmp_path / "in"))
    assert given.preview()["data"] == [["a", "0", "1"]]
    entry = ScoredFileDataset(path=str(tmp_path / "out"))
    score_file(good_bundle, given.load().path, entry.path, ScoreConfig(threads=1))
    assert sorted(p.name for p in entry.path.iterdir()) == ["part-0.csv", "part-1.csv"]
    shops = [cell for batch in entry.load().batches(["shop"]) for cell in batch[0]]
    assert [cell.as_py() for cell in shops] == ["0", "1"]


@pytest.mark.parametrize("name", [".", "*.csv", "p*.c*"])
def test_a_folder_or_pattern_of_one_file_becomes_a_folder_as_in_the_command(
    good_bundle, tmp_path, name
):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "part-0.csv").write_text("note,shop,price\na,b,1\n", encoding="utf-8")
    given = ScoringInputDataset(path=str(folder / name))
    entry = ScoredFileDataset(path=str(tmp_path / "out"))
    score_file(good_bundle, given.load().path, entry.path, ScoreConfig(threads=1))
    score_file(good_bundle, folder / name, tmp_path / "other", ScoreConfig(threads=1))
    written = (tmp_path / "out" / "part-0.csv").read_bytes()
    assert (tmp_path / "other" / "part-0.csv").read_bytes() == written
    assert entry.load().columns() == ["note", "shop", "price", *ADDED]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["a.csv", "b.csv"], "*.csv"),
        (["x/b.csv", "y/a (1).csv", "z.csv"], "**/*.csv"),
        (["shop=a/day=1/f.csv", "shop=b/day=1/f.csv"], "shop=*"),
    ],
)
def test_all_that_a_pattern_named_is_read_again(good_bundle, tmp_path, names, pattern):
    for number, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        columns = "note,price" if "=" in name else "note,price,shop"
        cells = f"n{number},{number}" + ("" if "=" in name else ",b")
        path.write_text(f"{columns}\n{cells}\n", encoding="utf-8")
    given = ScoringInputDataset(path=str(tmp_path / "in" / pattern))
    entry = ScoredFileDataset(path=str(tmp_path / "out"))
    score_file(good_bundle, given.load().path, entry.path, ScoreConfig(threads=1))
    notes = [c.as_py() for b in entry.load().batches(["note"]) for c in b[0]]
    assert notes == [f"n{number}" for number in range(len(names))]
    assert entry.load().unread == ()
    assert entry.preview()["data"][0][0] == "n0"
