"""What a user has got wrong is said on one screen, before anything is half-written."""

import csv
import re
import shutil

import pytest

SCREEN = 25
TINY = "training.max_epochs=1"


def refused(project, *options):
    """The message of a run that must end with exit code 1 and leave whole files."""
    before = project.files()
    done = project.run(*options)
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    assert "Error: " in done.err
    assert len(done.text.splitlines()) < SCREEN, done.text
    after = project.files()
    assert not [name for name in after if name.endswith((".part", ".old"))]
    # Stages before the one that failed may have written their artifacts again.
    assert set(after) == set(before)
    return done.err


def test_a_pipeline_that_does_not_exist(copied):
    for option in ("--pipelines=trian", "--pipeline=trian"):
        message = refused(copied, option)
        assert "'trian'" in message
        assert re.search(r"Did you mean.*\n?.*train", message)
        assert "load, text, tabular, train, evaluate, export" in message


def test_a_node_that_does_not_exist(copied):
    message = refused(copied, "--nodes=train_modle")
    assert "train_modle" in message
    assert "train_model" in message


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        (
            "training.max_epoch=1",
            ["training.max_epoch: unknown key", "Did you mean 'max_epochs'?"],
        ),
        ("training.max_epochs=many", ["training.max_epochs", "integer", "'many'"]),
        ("trainning.max_epochs=1", ["trainning: unknown group", "'training'?"]),
        ("training=1", ["training: must hold keys and values"]),
        (
            "model.model_class=multimodal_brt",
            [
                "multimodal_brt",
                "'multimodal_bert'?",
                "trimodal_bert, trimodal_gate_fusion",
            ],
        ),
        ("model.scratch.num_heads=3", ["num_heads 3 must divide hidden_size 32"]),
        ("data.text=order_id", ["data.text"]),
        ("export.parity_tolerance=0", ["export.parity_tolerance", "greater than 0"]),
    ],
)
def test_a_parameter_is_refused_before_anything_runs(copied, option, parts):
    since = copied.files()
    message = refused(copied, f"--params={option}")
    assert "The parameters are not valid" in message
    for part in parts:
        assert part in message
    assert copied.files() == since


def test_all_wrong_parameters_are_said_at_once(copied):
    message = refused(copied, "--params=training.lr=-1,text.max_chunks=2,export.x=1")
    for part in ("training.lr", "text.max_chunks", "export.x"):
        assert part in message


def test_a_column_that_is_not_in_the_files(copied):
    since = copied.files()
    message = refused(copied, "--params=data.label=is_abus")
    assert "Column 'is_abus' not found" in message
    assert "'is_abuse'?" in message
    for split in ("train", "val", "test"):
        assert f"01_raw/{split}/marketplace.csv" in message
    assert copied.files() == since


def test_a_column_that_both_is_id_and_label(copied):
    assert "more than one role" in refused(copied, "--params=data.id=is_abuse")


def test_an_environment_that_does_not_exist(copied):
    message = refused(copied, "--env=womens_cloting")
    assert "no environment 'womens_cloting'" in message
    assert "'womens_clothing'?" in message
    assert "tabweave init" in message


def test_a_data_folder_without_files(copied):
    message = refused(copied, "--params=data_dir=nowhere")
    assert str(copied.path / "nowhere") in message
    assert "data_dir" in message


@pytest.mark.parametrize("folder", ["models/minilm", "/models/minilm"])
def test_an_encoder_folder_that_does_not_exist(copied, folder):
    message = refused(copied, f"--params=text.encoder={folder}")
    assert "text.encoder" in message
    assert repr(folder) in message
    assert "tokenizer.json" in message


def test_an_encoder_folder_without_an_encoder(copied):
    (copied.path / "encoder").mkdir()
    message = refused(copied, "--params=text.encoder=encoder")
    assert str(copied.path / "encoder") in message
    assert "tokenizer.json" in message


def test_a_tokenizer_without_weights(copied):
    """The text stage can work with it, the training cannot."""
    folder = copied.path / "encoder"
    folder.mkdir()
    shutil.copy(copied.data("04_feature/tokenizer/dialogue/tokenizer.json"), folder)
    message = refused(copied, f"--params=text.encoder=encoder,{TINY}")
    assert str(folder) in message
    assert "config.json" in message


def test_a_model_that_needs_other_text_fields(copied):
    before = copied.files()
    message = refused(copied, "--params=model.model_class=trimodal_bert")
    assert copied.files() == before
    assert "takes 2 text fields, but text.fields gives 1: ['dialogue']" in message


def test_yaml_that_is_not_yaml(copied):
    path = copied.path / "conf" / "local" / "parameters.yml"
    path.write_text("training: {max_epochs: 1\n", encoding="utf-8")
    message = refused(copied)
    assert "configuration" in message
    assert "parameters.yml" in message


def test_a_catalog_that_refers_to_nothing(copied):
    path = copied.path / "conf" / "local" / "catalog.yml"
    path.write_text(
        "metrics:\n  type: tabweave.datasets.files.JsonDataset\n"
        "  path: ${layer:08_reporting}/${globals:nothing}.json\n",
        encoding="utf-8",
    )
    message = refused(copied)
    assert "configuration" in message
    assert "nothing" in message


def test_cells_and_labels_that_do_not_fit(copied):
    path = copied.data("01_raw/val/marketplace.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1].endswith(('"0"', '"1"'))
    lines[1] = lines[1][:-3] + '"2"'
    lines[2] = lines[1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    message = refused(copied)
    assert re.search(r"labels \W+2\W+ are not among data.classes", message)
    assert "must be unique, but 1 ids repeat" in message


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_column_of_the_predictions_is_refused_before_training(copied, split):
    since = copied.files()
    path = copied.data(f"01_raw/{split}/marketplace.csv")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*header, "prob_1"], *([*r, "x"] for r in rows)])
    message = refused(copied)
    assert f"01_raw/{split}/marketplace.csv" in message
    assert re.search(r"columns of these\s+names, 'prob_1'", message)
    assert "run from load on" in message
    changed = {name for name, old in since.items() if copied.files()[name] != old}
    assert changed == {f"01_raw/{split}/marketplace.csv"}


@pytest.mark.slow
def test_an_export_that_does_not_match_is_refused(copied):
    since = copied.files()
    option = "--params=export.parity_tolerance=1.0e-12"
    message = refused(copied, "--pipelines=export", option)
    assert "differ from PyTorch" in message
    assert copied.files() == since


def test_outside_a_project_the_command_says_so(copied, tmp_path):
    from dataclasses import replace

    elsewhere = replace(copied, path=tmp_path)
    done = elsewhere.python(
        *("-m", "tabweave", "init", "--data=x", "--label=y", "--text=t")
    )
    assert done.code == 1
    assert "not inside a tabweave project" in done.err
