"""The stage score and the command `tabweave score`, in a project of their own."""

import csv
import sys

import pytest

LINES = "id,note,shop,price\n1,where is it,a,3\n2,b,b,dear\n3,,a,\n"


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    """A project that has never trained: it only scores."""
    project = make_project(tmp_path_factory.mktemp("scoring") / "project")
    (project.path / "in.csv").write_text(LINES, encoding="utf-8")
    (project.path / "good.csv").write_text(LINES.replace("dear", "2"), encoding="utf-8")
    return project


def rows(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def params(bundle, **values):
    every = {"bundle": bundle, **values}
    return "--params=" + ",".join(
        f"score.{key}={value}" for key, value in every.items()
    )


def test_the_pipeline_scores_a_file(project, good_bundle):
    options = params(good_bundle, input="good.csv", output="scored/out.csv")
    done = project.ran("--pipelines=score", options)
    assert "3 of 3 rows scored" in done.out
    found = rows(project.path / "scored" / "out.csv")
    assert [row["id"] for row in found] == ["1", "2", "3"]
    for row in found:
        assert float(row["prob_no"]) + float(row["prob_yes"]) == pytest.approx(1)
    record = project.path / "scored" / "out.csv.provenance.json"
    assert '"stage": "score"' in record.read_text("utf-8")


def test_a_relative_path_counts_from_the_project(project, good_bundle):
    options = params(good_bundle, input="in.csv", output="a.csv", rejects="b.csv")
    done = project.python("-m", "kedro", "run", "--pipelines=score", options)
    assert done.code == 0, done.text
    assert len(rows(project.path / "a.csv")) == 2
    (left,) = rows(project.path / "b.csv")
    assert (left["reject_row"], left["price"]) == ("2", "dear")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"input": "good.csv"}, "score.output is not set"),
        ({"output": "x.csv"}, "score.input is not set"),
        ({"input": "gone.csv", "output": "x.csv"}, "there is no such file"),
        ({"input": "in.csv", "output": "x.csv"}, "row 2: 'dear'"),
        ({"input": "good.csv", "output": "x.tsv"}, "must end in .csv"),
        ({"input": "good.csv", "output": "x.csv", "thread": 1}, "score.thread"),
    ],
)
def test_what_is_wrong_is_said_on_one_screen(project, good_bundle, values, words):
    done = project.python("-m", "tabweave", "run", "--pipelines=score",
                          params(good_bundle, **values))  # fmt: skip
    assert done.code == 1
    assert words in done.text
    assert "Traceback" not in done.text
    assert not (project.path / "x.csv").exists()


def test_without_a_bundle_the_project_s_own_is_sought(project):
    options = "--params=score.input=good.csv,score.output=x.csv"
    done = project.python("-m", "tabweave", "run", "--pipelines=score", options)
    assert done.code == 1
    assert "data/07_model_output/bundle is not a bundle" in done.text


def test_the_command_gives_the_same_bytes_without_kedro(project, good_bundle):
    options = params(good_bundle, input="good.csv", output="one.csv")
    project.ran("--pipelines=score", options)
    code = (
        "import sys; from tabweave.__main__ import main\n"
        "sys.argv[0] = 'tabweave'\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print([n for n in ('torch', 'onnx', 'kedro', 'transformers') "
        "if n in sys.modules])"
    )
    done = project.python("-c", code, "score", str(good_bundle), "good.csv", "two.csv")
    assert done.code == 0, done.text
    assert done.out.splitlines()[-1] == "[]"
    one, two = project.path / "one.csv", project.path / "two.csv"
    assert one.read_bytes() == two.read_bytes()
    assert sys.platform != "linux" or not (project.path / "two.csv.parts").exists()
