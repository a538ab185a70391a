"""A stage refuses inputs that no longer are what they were made from."""

import json
import re
import shutil

import pytest

from tabweave.storage.artifacts import write_json

pytestmark = pytest.mark.slow


def refused(project, *options):
    """The message of a run that must be refused, and the command that it names."""
    before = project.files()
    done = project.run(*options)
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    assert len(done.text.splitlines()) < 25
    assert project.files() == before
    (command,) = re.findall(r"^Re-run: python -m kedro run (.+)$", done.err, re.M)
    words = command.split()
    # The command must run in the same environment and with the same parameters.
    given = [option for option in options if not option.startswith("--pipelines")]
    assert [word for word in words if not word.startswith("--pipelines")] == given
    (stages,) = (word for word in words if word.startswith("--pipelines="))
    return done.err, stages.removeprefix("--pipelines=")


def test_after_a_raw_cell_has_changed(copied):
    path = copied.data("01_raw/train/marketplace.csv")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[bom]", "[bom] Sir,", 1), encoding="utf-8")
    message, stages = refused(copied, "--pipelines=train")
    assert "made from another train.raw than" in message
    assert "marketplace.csv is now (stage load)" in message
    assert stages == "load,text,tabular,train"
    copied.ran(f"--pipelines={stages}")
    copied.ran("--pipelines=evaluate,export")


def test_after_a_text_parameter_has_changed(copied):
    option = "--params=text.max_sen_len=32"
    message, stages = refused(copied, "--pipelines=train", option)
    assert "text.max_sen_len: 64 -> 32 (stage text)" in message
    assert stages == "text,train"
    copied.ran(f"--pipelines={stages}", option)
    report = json.loads(copied.data("08_reporting/text_report.json").read_text())
    assert report["train"]["dialogue"]
    # Evaluation with the old value would use other tokens than training did.
    message, stages = refused(copied, "--pipelines=evaluate")
    assert "text.max_sen_len: 32 -> 64 (stage text)" in message
    assert stages == "text,train,evaluate"
    copied.ran("--pipelines=evaluate,export", option)


def test_after_a_training_parameter_has_changed(copied):
    option = "--params=training.batch_size=64"
    message, stages = refused(copied, "--pipelines=evaluate,export", option)
    assert "model: made with other parameters" in message
    assert "training.batch_size: 32 -> 64 (stage train)" in message
    assert stages == "train,evaluate,export"


def test_after_an_artifact_was_changed_by_hand(copied):
    path = copied.data("04_feature/scaler.json")
    scaler = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**scaler, "note": "mine"})
    message, stages = refused(copied, "--pipelines=train")
    assert "scaler.json was changed after it was written (stage tabular)" in message
    assert stages == "tabular,train"
    copied.ran(f"--pipelines={stages}")
    assert json.loads(path.read_text(encoding="utf-8")) == scaler


def test_after_the_weights_were_swapped(copied):
    path = copied.data("06_models/model/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message, stages = refused(copied, "--pipelines=export")
    assert "was changed after it was written (stage train)" in message
    assert stages == "train,evaluate,export"


@pytest.mark.parametrize(
    ("name", "pipeline", "stages"),
    [
        ("02_intermediate/val.parquet", "text", "load,text"),
        ("05_model_input/val_tokens.arrow", "export", "text,train,evaluate,export"),
        ("05_model_input/val_features.arrow", "train", "tabular,train"),
        ("06_models/model", "evaluate", "train,evaluate"),
    ],
)
def test_after_an_artifact_was_deleted(copied, name, pipeline, stages):
    path = copied.data(name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    message, found = refused(copied, f"--pipelines={pipeline}")
    assert f"{path} does not exist" in message
    assert found == stages


def test_a_file_of_another_run_is_refused(copied):
    """The tokens of val in the place of those of test, record and all."""
    for ending in ("", ".provenance.json"):
        source = copied.data(f"05_model_input/val_tokens.arrow{ending}")
        shutil.copy(source, source.with_name(f"test_tokens.arrow{ending}"))
    message, stages = refused(copied, "--pipelines=evaluate")
    assert "test_tokens.arrow has no record" in message
    # Training never reads the tokens of test, so the model stands.
    assert stages == "text,evaluate"


def test_a_project_that_moved_and_lost_its_raw_files_still_trains(copied):
    """What is gone cannot be compared; what is there is whole and says so."""
    shutil.rmtree(copied.data("01_raw"))
    done = copied.ran("--pipelines=train")
    (line,) = [line for line in done.text.splitlines() if "cannot be compared" in line]
    assert line.startswith("test.raw, train.raw, val.raw: ")
    assert str(copied.data("01_raw")) in line


def test_a_mistyped_data_folder_is_refused_by_every_stage(copied):
    for option in ("data_dir=data/01_rwa", "data.train_filename=tpyo.csv"):
        done = copied.run("--pipelines=train", f"--params={option}")
        assert done.code == 1, done.text
        assert "  - train.raw: " in done.err
        assert option.rpartition("=")[2] in done.err
        assert "Traceback" not in done.text


def test_a_change_that_concerns_no_input_is_no_reason(copied):
    """Export parameters have no part in the training."""
    copied.ran("--pipelines=export", "--params=export.parity_rows=40")


# What a stage says to a change, or to an artifact that was made from something else.
ASK_ALL = """
import json, pathlib, sys
from dataclasses import replace
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from tabweave.storage.artifacts import Provenance
from tabweave.errors import ArtifactError
from tabweave.hooks import artifact_path

project = pathlib.Path.cwd()
bootstrap_project(project)

def asked(stage, given):
    with KedroSession.create(project, runtime_params=given) as session:
        try:
            session.run(pipeline_names=[stage])
        except ArtifactError as error:
            return str(error)
    return "was not refused"

changes = json.loads(sys.argv[1])
told = [[stage, given, asked(stage, given)] for stage, given in changes]
with KedroSession.create(project) as session:
    catalog = session.load_context().catalog
foreign = []
for stage in sorted({stage for stage, _ in changes}):
    for name in sorted(pipelines[stage].inputs()):
        path = None if name.startswith("params:") else artifact_path(catalog, name)
        record = path and Provenance.read(path)
        if record is None:
            continue
        for source in record.inputs:
            replace(record, inputs=record.inputs | {source: "0" * 64}).write(path)
            foreign.append([stage, name, source, asked(stage, {})])
        record.write(path)
json.dump([told, foreign], sys.stdout)
"""
# Stage -> the stages that its inputs come from, directly or not.
UPSTREAM = {
    "text": ("load",),
    "tabular": ("load",),
    "train": ("load", "text", "tabular"),
    "evaluate": ("load", "text", "tabular", "train"),
    "export": ("load", "text", "tabular", "train"),
}
# What may change -> the stage whose artifacts are out of date then, and the reason.
CHANGES = {
    "data.positive_label=0": ("load", "data.positive_label: '1' -> '0'"),
    "data_dir=data/other": ("load", "made from another train.raw than"),
    "text.max_sen_len=32": ("text", "text.max_sen_len: 64 -> 32"),
    "tabular.cross_fit=3": ("tabular", "tabular.cross_fit: 5 -> 3"),
    "model.hidden_common_dim=24": ("train", "model.hidden_common_dim: "),
    "training.seed=7": ("train", "training.seed: "),
}


def nested(option):
    """An option of --params as Kedro hands it on."""
    key, value = option.split("=")
    group, _, name = key.partition(".")
    value = int(value) if value.isdecimal() and group != "data" else value
    return {group: {name: value}} if name else {group: value}


def test_every_stage_refuses_what_is_of_another_configuration_schema_or_data(copied):
    """Parameters, raw files, and every artifact that was made from other ones."""
    other = copied.data("other")
    shutil.copytree(copied.data("01_raw"), other)
    path = other / "train" / "marketplace.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[bom]", "[bom] Sir,", 1), encoding="utf-8")
    cases = [
        (stage, option)
        for stage, sources in UPSTREAM.items()
        for option, (source, _) in CHANGES.items()
        if source in sources
    ]
    before = copied.files()
    changes = [(stage, nested(option)) for stage, option in cases]
    done = copied.python("-c", ASK_ALL, json.dumps(changes))
    assert done.code == 0, done.text
    assert copied.files() == before
    told, foreign = json.loads(done.out.splitlines()[-1])
    for (stage, option), (_, _, message) in zip(cases, told, strict=True):
        source, reason = CHANGES[option]
        assert reason in message, (stage, option, message)
        assert f"(stage {source})" in message
        (stages,) = re.findall(r"--pipelines=(\S+)", message)
        assert stages.split(",")[0] == source
        assert stages.split(",")[-1] == stage
    for stage, name, source, message in foreign:
        (line,) = [part for part in message.splitlines() if "another" in part]
        assert line.startswith(f"  - {name}: made from another {source} than"), stage
    read = {(stage, name) for stage, name, *_ in foreign}
    assert {"schema", "train.table"} <= {n for stage, n in read if stage == "text"}
    assert {"train.tokens", "val.features"} <= {n for s, n in read if s == "train"}
    for stage in ("evaluate", "export"):
        assert {"model", "val.tokens", "val.features"} <= {
            n for s, n in read if s == stage
        }
