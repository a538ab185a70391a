import pytest

from tabweave.datasets.scoring import ScoringOutput
from tabweave.errors import ConfigError, SchemaError
from tabweave.pipelines.scoring.nodes import score_input
from tabweave.scoring import ScoreConfig
from tabweave.tables.files import RawTable


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("note,shop,price\na,a,1\nb,b,dear\n", encoding="utf-8")
    return RawTable(path, "input")


CONFIG = ScoreConfig(threads=1, output="named.csv", rejects="elsewhere.csv")


def test_the_node_scores_and_puts_what_it_cannot_score_aside(
    source, good_bundle, tmp_path
):
    output = ScoringOutput(tmp_path / "out.csv", str(tmp_path / "left.csv"))
    report = score_input(good_bundle, source, output, CONFIG)
    assert (report.rows, report.scored, report.rejected) == (2, 1, 1)
    assert "prob_no" in (tmp_path / "out.csv").read_text("utf-8")
    assert "dear" in (tmp_path / "left.csv").read_text("utf-8")


def test_without_a_file_of_rejects_a_bad_row_is_refused(source, good_bundle, tmp_path):
    output = ScoringOutput(tmp_path / "out.csv", None)
    with pytest.raises(SchemaError, match="row 2: 'dear'"):
        score_input(good_bundle, source, output, CONFIG)
    assert not (tmp_path / "out.csv").exists()


def test_an_output_that_is_not_named_is_asked_for(source, good_bundle, tmp_path):
    output = ScoringOutput(tmp_path / "out.csv", None)
    with pytest.raises(ConfigError, match=r"score\.output is not set"):
        score_input(good_bundle, source, output, ScoreConfig())
