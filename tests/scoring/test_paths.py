import pytest

from tabweave.errors import ConfigError, MissingDataError, SchemaError
from tabweave.scoring.paths import ScoringPaths


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "in.csv").write_text("a\n")
    (tmp_path / "there.csv").write_text("a\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.csv")
    return tmp_path


def check(folder, output, rejects=None, source="in.csv", **options):
    paths = ScoringPaths(
        folder / "bundle",
        folder / source,
        folder / output,
        rejects and folder / rejects,
    )
    paths.check(**{"overwrite": False, "claimed": (), **options})


def test_new_files_are_fine(folder):
    check(folder, "out.csv")
    check(folder, "new/out.csv", "rejects.csv")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in.csv", "is the input"),
        ("link.csv", "is the input"),
        ("bundle/../in.csv", "is the input"),
        ("bundle/out.csv", "lies in the bundle"),
        ("folder.csv", "is a folder"),
        ("out.tsv", r"must end in \.csv"),
        ("out", r"must end in \.csv"),
        ("there.csv", "exists; give another name"),
    ],
)
def test_files_that_must_not_be_written_are_named(folder, output, words):
    with pytest.raises(ConfigError, match=f"score.output .*{words}"):
        check(folder, output)
    with pytest.raises(ConfigError, match=f"score.rejects .*{words}"):
        check(folder, "out.csv", output)


def test_files_may_be_replaced_on_request_or_when_they_are_ours(folder):
    check(folder, "there.csv", overwrite=True)
    check(folder, "there.csv", claimed={folder.resolve() / "there.csv"})
    with pytest.raises(ConfigError, match="is the input"):
        check(folder, "in.csv", overwrite=True)


def test_rejects_and_output_are_two_files(folder):
    with pytest.raises(ConfigError, match="are both"):
        check(folder, "out.csv", "out.csv")


def test_there_must_be_a_table_to_score(folder):
    with pytest.raises(MissingDataError, match=r"gone\.csv, but there is no such file"):
        check(folder, "out.csv", source="gone.csv")
    (folder / "in.xlsx").write_text("x")
    with pytest.raises(SchemaError, match="format is not known"):
        check(folder, "out.xlsx", source="in.xlsx")


@pytest.fixture
def parts(folder):
    """A folder of parts beside the files of `folder`."""
    (folder / "in").mkdir()
    for number in range(2):
        (folder / "in" / f"part-{number}.csv").write_text("a\n")
    (folder / "empty").mkdir()
    (folder / "old").mkdir()
    (folder / "old" / "part-0.csv").write_text("a\n")
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("a\n")
    return folder


def test_a_folder_becomes_a_folder(parts):
    check(parts, "out", source="in")
    check(parts, "new/out", "new/left", source="in")
    check(parts, "empty", source="in/*.csv")
    check(parts, "old", source="in", overwrite=True)
    check(parts, "old", source="in", claimed={parts.resolve() / "old"})


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in", "holds the input"),
        (".", "holds the input"),
        ("in/out", "lies in the folder of the input"),
        ("bundle/out", "lies in the bundle"),
        ("there.csv", "names a file, but the input is no single file"),
        ("new.csv", "names a file, but"),
        ("mine", r"not of this scoring, 'letter.txt'"),
        ("old", "exists; give another name"),
    ],
)
def test_folders_that_must_not_be_written_are_named(parts, output, words):
    with pytest.raises(ConfigError, match=f"score.output .*{words}"):
        check(parts, output, source="in")
    with pytest.raises(ConfigError, match=f"score.rejects .*{words}"):
        check(parts, "out", output, source="in")


@pytest.mark.parametrize("rejects", ["out", "out/left", "."])
def test_rejects_and_output_are_two_folders(parts, rejects):
    with pytest.raises(ConfigError, match=r"are both|lie in one another"):
        check(parts, "out", rejects, source="in")
