"""The commands of the pages run as they stand, in a small project that has had one run.

What is in <..> stands for files of that project, by the table MEANS. A line that a page
gains runs in `make test-slow`; what can be run by no test is in
tests/documented_exceptions.yml.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from documentation_fixtures import PAGES, ROOT, exceptions, fences, shown_lines

# The first fit counts. {n} is the number of the command, as outputs must be new.
MEANS = {
    "python -m benchmarks.<name>": "python -m benchmarks.text_growth",
    "data_dir=<folder>,text.encoder=<folder or hub id>": (
        "data_dir=reviews,text.encoder=encoder"
    ),
    "text.encoder=<folder or hub id>": "text.encoder=encoder",
    "--data <folder> --label <column> --text <column>": (
        "--data data/01_raw --label is_abuse --text dialogue"
    ),
    "--data <folder>": "--data data/01_raw",
    "--model-dir <folder>": "--model-dir out/model",
    "--output-dir <folder>": "--output-dir out/output",
    "--checkpoint-dir <folder>": "--checkpoint-dir out/checkpoints",
    "--env=<name>": "--env=01_raw",
    "'<folder>/*.csv' <out-folder>": "'data/01_raw/test/*.csv' scored_{n}",
    "<folder> <out-folder>": "data/01_raw/test scored_{n}",
    "<data>": "data/01_raw",
    "<bundle>": "data/07_model_output/bundle",
    "<in>": "data/01_raw/test/marketplace.csv",
    "<out>": "scored_{n}.csv",
    "<file>": "data/06_models/impute_dict.pkl",
}
# Part of a line -> commands that must have been given before, as the page says.
INT8 = "kedro run --pipelines=export --params=export.int8=true"
COPY_TABLES = (
    "mkdir -p data/01_raw/model_artifacts_input",
    "cp data/06_models/impute_dict.json data/06_models/risk_table_map.json "
    "data/01_raw/model_artifacts_input",
)
SPLIT = "kedro run --pipelines=split --params=split.source=data/01_raw/all.csv"
FIRST = {
    "conf-tabweave.tar.gz": ("tar -czf conf-tabweave.tar.gz conf",),
    "--env=<name>": ("tabweave init --data <folder> --label <column> --text <column>",),
    # The page tells the defaults of the project, not those of a small one.
    "test_docs.py": (f"rm -rf conf && cp -R '{ROOT}/conf' conf",),
    "int8": (INT8,),
    "precomputed": COPY_TABLES,
    "split.source": ("cp data/01_raw/train/marketplace.csv data/01_raw/all.csv",),
    "data_dir=data/01_raw/split": (
        "cp data/01_raw/train/marketplace.csv data/01_raw/all.csv",
        SPLIT,
    ),
}
# Seconds each; the others are of `make test-slow`.
FAST = (
    "kedro run --pipelines=score --params=score.input=<in>,score.output=<out>",
    "kedro run --pipelines=train",
    "kedro run --pipelines=train --params=text.max_sen_len=256",
    "python -m pickletools <file>",
    "python tests/project/test_docs.py > docs/parameters.md",
    "tabweave init --data <folder> --label <column> --text <column>",
    "tabweave score <bundle> <in> <out>",
    "tabweave train --hyperparameters hyperparameters.json --data <folder> "
    "--model-dir <folder> --output-dir <folder> --checkpoint-dir <folder>",
)
# What a small project shows where the page shows the demo.
SHOWN_SMALL = {"512 -> 256": "64 -> 256"}
EXAMPLES = ROOT / "tests" / "specification_examples.json"


def real(line, number=0):
    """A documented line with files of the project in the place of <..>."""
    for shown, meant in MEANS.items():
        line = line.replace(shown, meant.format(n=number))
    return line


def cases():
    excepted = exceptions()
    for line in shown_lines():
        if line not in excepted:
            marks = [] if line in FAST else [pytest.mark.slow]
            yield pytest.param(line, marks=marks, id=line)


def hyperparameters():
    """Those of the specification's first example, for the demo and for few seconds."""
    example = json.loads(EXAMPLES.read_text("utf-8"))["binary_bert"]
    demo = {
        "id_name": "order_id",
        "text_name": "dialogue",
        "label_name": "is_abuse",
        "cat_field_list": ["marketplace", "category"],
        "tab_field_list": ["price", "quantity"],
        "categorical_features_to_encode": ["marketplace"],
        "tokenizer": "scratch",
        "max_epochs": 1,
        "max_sen_len": 64,
        "input_tab_dim": 2,
    }
    names = [*demo["cat_field_list"], *demo["tab_field_list"]]
    texts = [demo[name] for name in ("id_name", "text_name", "label_name")]
    return example | demo | {"full_field_list": [*texts, *names]}


def make_small_the_default(project):
    """Environments do not read conf/local, where a small project has its settings."""
    local = project.path / "conf" / "local" / "parameters.yml"
    small = yaml.safe_load(local.read_text(encoding="utf-8"))
    for path in (project.path / "conf" / "base").glob("*/parameters.yml"):
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for group in set(given) & set(small):
            # One key in two files of one environment is an error.
            given[group] = {
                k: v for k, v in given[group].items() if k not in small[group]
            }
        path.write_text(yaml.safe_dump(given), encoding="utf-8")
    (project.path / "conf" / "base" / "small").mkdir()
    local.rename(project.path / "conf" / "base" / "small" / "parameters.yml")


@pytest.fixture
def project(copied, root, reviews, small_encoder):
    """The finished project, with what the lines name beside it."""
    shutil.copytree(reviews, copied.path / "reviews")
    shutil.copytree(small_encoder, copied.path / "encoder")
    (copied.path / "tests" / "project").mkdir(parents=True)
    shutil.copy(root / "tests/project/test_docs.py", copied.path / "tests/project")
    (copied.path / "docs").mkdir()
    shutil.copytree(root / "benchmarks", copied.path / "benchmarks")
    make_small_the_default(copied)
    text = json.dumps(hyperparameters())
    (copied.path / "hyperparameters.json").write_text(text, encoding="utf-8")
    return copied


def give(project, line):
    """A line as a user gives it, with this environment's commands first."""
    environment = project.environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=project.path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def gave(project, line, number=0):
    """A line that must end well."""
    done = give(project, real(line, number))
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("line", list(cases()))
def test_the_command_runs_as_it_is_shown(project, line):
    if line in shown_errors():
        said = give(project, real(line))
        assert said.returncode == 1
        expected = shown_errors()[line]
        for shown, small in SHOWN_SMALL.items():
            expected = expected.replace(shown, small)
        assert expected in said.stderr
        return
    for part, before in FIRST.items():
        for number, command in enumerate(before if part in line else ()):
            gave(project, command, number)
    done = gave(project, line, 9)
    assert "Traceback" not in done.stderr
    if line.endswith("> docs/parameters.md"):
        own = ROOT / "docs" / "parameters.md"
        assert (project.path / "docs" / "parameters.md").read_bytes() == (
            own.read_bytes()
        )


def shown_errors():
    """Command -> what a page shows as its answer."""
    found = {}
    for page in PAGES:
        for code in fences(page, "console"):
            command, _, answer = code.removeprefix("$ ").partition("\n")
            found[command] = answer
    return found


@pytest.mark.parametrize("line", sorted(set(shown_lines()) - set(exceptions())))
def test_nothing_is_left_open_in_a_command(line):
    assert not re.search(r"<[a-z]", real(line)), "say in MEANS what is meant"


def test_the_tables_name_commands_that_are_shown():
    lines = shown_lines()
    assert set(FAST) <= set(lines)
    for part in (*MEANS, *FIRST):
        assert [line for line in lines if part in line], part
