"""Whatever a user types or feeds: no traceback, one screen, and an exit code that tells."""

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
import yaml
from kedro.framework.cli.project import run as kedro_run

from tabweave.cli.kedro_errors import one_screen_errors
from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.settings import CONFIG_LOADER_ARGS

DRIVER = Path(__file__).with_name("command_lines.py")
LINES = 41  # a screen
# Of each kind; make test-lines asks for all of them.
DRAWN = int(os.environ.get("TABWEAVE_LINES", "30"))
LONG = "x" * 100_000
HOSTILE = [
    *("", " ", "zzz", "-", "-1", "0", "1e999", "true", "null", ",", ",,", "=", "a=b"),
    *("a=[", "[", "}{", "'", '"', "${x}", "a=${x", "a=*b", "../..", "/nowhere/x", "."),
    *("/", "/dev/null", "a\nb", "\x1b[31mred", "ü" * 300, "\udcff", LONG, "a:b"),
    *("a b", "*", "~", "%s", "{}", "\\", "--help", "data", "pyproject.toml", "odd/bin"),
]
# A run that reads the configuration and then has nothing to do: split.source is not set.
RUN = ["run", "--pipelines=split"]
JOIN = ["tabweave", "join", "--rendezvous=127.0.0.1:1"]
TRAIN = {
    "--hyperparameters": "odd/empty.json",
    "--data": "data/01_raw",
    "--model-dir": "out/model",
    "--output-dir": "out/reports",
    "--checkpoint-dir": "out/checkpoints",
}
INIT = {"--data": "data/01_raw", "--label": "is_abuse", "--text": "dialogue"}


def lines_of_run():
    """Every option of `kedro run` with every hostile value."""
    for param in kedro_run.params:
        option = param.opts[0]
        if param.is_flag:
            yield ["kedro", *RUN, option, option]
            yield ["kedro", *RUN, f"{option}=x"]
            continue
        for value in HOSTILE:
            if option in ("--params", "--pipeline", "--pipelines"):
                yield ["kedro", "run", "--nodes=divide_rows", f"{option}={value}"]
            else:
                yield ["kedro", *RUN, f"{option}={value}"]
        yield ["kedro", *RUN, option]
        yield ["kedro", *RUN, f"{option}=a", f"{option}=b"]


def lines_of_parameters():
    """Every parameter with a few hostile values, as --params takes them."""
    values = [
        *("true", ".inf", ".nan", "", "''", "[]", "{a: b}", "-1", "1e30", "[['']]")
    ]
    values += ["x" * 50_000, "'\\x00'", "${x}", "gs://bucket/x", "9" * 400]
    for group, kind in PARAMETER_TYPES.items():
        for name in kind.model_fields:
            for value in values:
                yield ["tabweave", *RUN, f"--params={group}.{name}={value}"]
    for name in (
        "data_dir",
        "checkpoint_dir",
        "layers",
        "model_artifacts_input",
        "zzz",
    ):
        for value in values:
            yield ["tabweave", *RUN, f"--params={name}={value}"]


def lines_of_others():
    """The commands of our own, each option and argument with every hostile value."""
    for value in HOSTILE:
        yield ["tabweave", value]
        yield ["container", f"--params={value}"]
        yield ["container", value]
        yield [
            "tabweave",
            "score",
            value,
            "data/01_raw/test/marketplace.csv",
            "out.csv",
        ]
        yield ["tabweave", "score", "odd", value, "out.csv"]
        yield ["tabweave", "score", "odd", "data/01_raw/test/marketplace.csv", value]
        for option in ("--rejects", "--threads"):
            words = ["odd", "data/01_raw/test/marketplace.csv", "out.csv"]
            yield ["tabweave", "score", *words, f"{option}={value}"]
        for command, options in (("train", TRAIN), ("init", INIT)):
            for option in [*options, *({"train": ["--params"]}.get(command, []))]:
                if option.endswith("-dir") and value.startswith("/"):
                    continue  # it would be made, beside the tests' own folders
                given = {**options, option: value}
                yield ["tabweave", command, *(f"{k}={v}" for k, v in given.items())]
        for option in ("--node", "--num-nodes", "--devices", "--threads", "--timeout"):
            yield [*JOIN, "--node=9", f"{option}={value}"]
        yield ["tabweave", "join", f"--rendezvous={value}", "--node=9"]
    for command in ("run", "score", "init", "train", "join"):
        for words in ([], ["--help"], ["--nothing"], ["a", "b", "c", "d", "e"]):
            # Without options, `run` runs.
            yield ["tabweave", command, *(words or ["--env"])]


def shows(code, shown):
    """What is wrong with what a user sees of a command line."""
    if "Traceback" in shown or "╭─" in shown:
        return "a traceback"
    if len(shown.splitlines()) > LINES:
        return "more than a screen"
    if code < 0 or code > 2:
        return f"exit code {code}"
    return "" if code == 0 or shown.strip() else "nothing"


def faults(project, cases, tmp_path):
    """Each command line that shows a user what it should not."""
    lists = tmp_path / "cases.json", tmp_path / "results.json"
    lists[0].write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, DRIVER, project, *lists],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(lists[1].read_text())
    return [
        (fault, [word[:60] for word in words], shown[-600:])
        for words, (code, shown, _) in zip(cases, found, strict=True)
        if (fault := shows(code, shown))
    ]


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    """A small project, with odd files to name."""
    made = make_project(tmp_path_factory.mktemp("lines") / "project")
    odd = made.path / "odd"
    odd.mkdir()
    (odd / "bin").write_bytes(bytes(range(256)) * 50)
    (odd / "empty.json").write_text("{}")
    (odd / "manifest.json").write_text("[" * 100_000)
    return made.path


def drawn(lines, number):
    every = list(lines)
    return random.Random(13).sample(every, min(number, len(every)))


@pytest.mark.parametrize(
    ("lines", "number"),
    [(lines_of_run, 8), (lines_of_parameters, 4), (lines_of_others, 60)],
)
def test_a_command_line_is_answered_on_one_screen(project, tmp_path, lines, number):
    assert faults(project, drawn(lines(), number), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("lines", [lines_of_run, lines_of_parameters, lines_of_others])
def test_many_command_lines_are_answered_on_one_screen(project, tmp_path, lines):
    assert faults(project, drawn(lines(), DRAWN), tmp_path) == []


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
CONTENTS = [
    *("", "a", "- a", "data: [", "data: {id: 1}", "\tdata: 1", "data: ${x}", "{: }"),
    *("data: !!python/object:os.system x", "? [a]\n: b", "1: 2", "data: *x", "a: b: c"),
    *("\xff\xfe", "\0", "[" * 20_000, BOMB, "data: &a {b: *a}", "data:\n  id: ${data}"),
    *("data: null", "train.raw: 5", "train.raw: {type: nope.Nope}", "layers: [1]"),
    *("train.raw: {type: pandas.CSVDataset}", "x: ${layer:}", "x: ${parameter:}"),
]


@pytest.mark.parametrize("name", ["parameters", "catalog", "globals"])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda text: repr(text)[:20])
def test_a_configuration_that_cannot_be_meant_is_answered(project, name, content):
    folder = project / "conf" / "odd"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / f"{name}.yml").write_bytes(content.encode("latin-1"))
    # What is no error here may be one of a dataset, which Kedro names.
    with suppress(click.ClickException), one_screen_errors():
        loader = TabweaveConfigLoader(project / "conf", "odd", **CONFIG_LOADER_ARGS)
        for key in ("parameters", "catalog"):
            loader[key]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parameters", "catalog", "globals"])
def test_a_configuration_file_that_cannot_be_meant(project, tmp_path, name):
    found = []
    for number, content in enumerate(CONTENTS):
        folder = project / "conf" / f"odd{number}"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / f"{name}.yml").write_bytes(content.encode("latin-1"))
        found.append(["kedro", *RUN, f"--env=odd{number}"])
    assert faults(project, found, tmp_path) == []


@pytest.mark.slow
def test_a_file_of_options_that_cannot_be_meant(project, tmp_path):
    cases = []
    contents = [
        *CONTENTS,
        *(f"run: {text}" for text in ("[", "5", "{env: [a]}", "{a: b}")),
    ]
    contents += [yaml.safe_dump({"run": {p.name: 5}}) for p in kedro_run.params]
    for number, content in enumerate(contents):
        path = project / "odd" / f"run{number}.yml"
        path.write_bytes(content.encode("latin-1"))
        cases.append(["kedro", *RUN, f"--config={path}"])
    assert faults(project, cases, tmp_path) == []
