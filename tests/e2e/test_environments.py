"""Environments beside base: the shipped ones, and one written for a user's files."""

import json
import re
import shutil

import pandas as pd
import pytest
import yaml

SAMPLE = {"train": 200, "val": 60, "test": 60}


def below_data(project, env):
    """Files of an environment, and all the others."""
    own, others = {}, {}
    for name, content in project.files().items():
        layer, _, rest = name.partition("/")
        if rest.startswith(f"{env}/"):
            own[f"{layer}/{rest.removeprefix(f'{env}/')}"] = content
        else:
            others[name] = content
    return own, others


@pytest.mark.slow
def test_trimodal_runs_and_leaves_the_files_of_base_alone(copied, finished, small):
    before = copied.files()
    done = copied.ran("--env=trimodal", f"--params={small}")
    assert "environment trimodal" in done.out
    assert "data/06_models/trimodal/model" in done.out
    own, others = below_data(copied, "trimodal")
    assert others == before
    for name in (
        "04_feature/tokenizer/dialogue/tokenizer.json",
        "04_feature/tokenizer/shiptrack/tokenizer.json",
        "05_model_input/test_tokens.arrow",
        "06_models/model/model.safetensors",
        "06_models/model.onnx",
        "07_model_output/test_predictions.parquet",
        "08_reporting/metrics.json",
    ):
        assert own[name]
    config = json.loads(own["06_models/model/config.json"])
    assert [field["name"] for field in config["text"]] == ["dialogue", "shiptrack"]
    # The tabular side is the same as in base, its environment notwithstanding.
    assert own["04_feature/scaler.json"] == before["04_feature/scaler.json"]
    # Stages of the environment find its files, not those of base.
    message = copied.run("--env=trimodal", "--pipelines=evaluate").err
    assert "/06_models/trimodal/model" not in message
    assert re.search(r"training\.max_epochs: 1 -> \d \(stage train\)", message)


def users_files(folder, source):
    """The demo files as a user's: one flat CSV per split, other names and numbers."""
    folder.mkdir(parents=True)
    names = {"order_id": "Case No", "dialogue": "Message", "is_abuse": "Outcome"}
    for split in ("train", "val", "test"):
        table = pd.read_csv(
            source / split / "marketplace.csv", dtype=str, keep_default_na=False
        )
        table["is_abuse"] = table["is_abuse"].map({"0": "fine", "1": "abuse"})
        table.rename(columns=names).to_csv(folder / f"{split}.csv", index=False)


def test_init_writes_an_environment_that_runs(make_project, tmp_path, small):
    project = make_project(tmp_path / "project")
    users_files(tmp_path / "my files", project.data("01_raw"))
    options = ("--label=Outcome", "--text=Message", "--name=cases")
    done = project.python("-m", "tabweave", "init", "--data=../my files", *options)
    assert done.code == 0, done.text
    assert "conf/cases/parameters.yml" in done.out
    assert "kedro run --env=cases" in done.out
    text = (project.path / "conf/cases/parameters.yml").read_text(encoding="utf-8")
    assert text.count("#") >= 10
    proposed = yaml.safe_load(text)["data"]
    assert proposed["id"] == "Case No"
    assert proposed["classes"] == ["abuse", "fine"]
    assert proposed["text"] == ["Message"]
    assert {"price", "account_age_days", "seller_rating"} <= set(proposed["numeric"])
    assert {"marketplace", "payment_method"} <= set(proposed["categorical"])
    # The text settings are the environment's own; the sizes are the test's.
    sizes = ",".join(o for o in small.split(",") if not o.startswith("text.max"))
    stages = "--pipelines=load,text,tabular,train,evaluate"
    project.ran("--env=cases", stages, f"--params={sizes},text.max_sen_len=64")
    own, _ = below_data(project, "cases")
    assert own["07_model_output/predictions/test.csv"].startswith(b'"Case No"')
    columns = own["07_model_output/predictions/test.csv"].splitlines()[0].decode()
    assert columns.endswith('"prob_abuse","prob_fine","predicted"')
    assert "test/average_precision/abuse" in json.loads(
        own["08_reporting/metrics.json"]
    )


def test_init_never_overwrites(make_project, tmp_path):
    project = make_project(tmp_path / "project")
    options = ("--label=is_abuse", "--text=dialogue", "--name=mine")
    arguments = ("-m", "tabweave", "init", "--data=data/01_raw", *options)
    assert project.python(*arguments).code == 0
    before = (project.path / "conf/mine/parameters.yml").read_bytes()
    done = project.python(*arguments)
    assert done.code == 1
    assert "exists and is left as it is" in done.err
    assert (project.path / "conf/mine/parameters.yml").read_bytes() == before


def test_init_says_what_is_wrong_with_its_arguments(make_project, tmp_path):
    project = make_project(tmp_path / "project")
    before = {p.name for p in (project.path / "conf").iterdir()}
    for options, part in (
        (("--data=data/01_raw", "--label=abuse", "--text=dialogue"), "'is_abuse'?"),
        (("--data=nowhere", "--label=is_abuse", "--text=dialogue"), "nowhere"),
        (
            (
                "--data=data/01_raw",
                "--label=is_abuse",
                "--text=dialogue",
                "--name=model",
            ),
            "cannot name an environment",
        ),
    ):
        done = project.python("-m", "tabweave", "init", *options)
        assert done.code == 1, done.text
        assert part in done.err
        assert "Traceback" not in done.err
        assert len(done.err.splitlines()) < 25
    assert {p.name for p in (project.path / "conf").iterdir()} == before


@pytest.mark.data
def test_init_on_a_sample_of_public_reviews(make_project, tmp_path, public_data, small):
    source = public_data("womens_clothing")
    project = make_project(tmp_path / "project")
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, rows in SAMPLE.items():
        table = pd.read_parquet(source / f"{split}.parquet")
        table.sample(rows, random_state=0).to_parquet(folder / f"{split}.parquet")
    done = project.python(
        *("-m", "tabweave", "init", f"--data={folder}", "--label=recommended"),
        *("--text=title", "--text=review_text", "--id=row_id"),
    )
    assert done.code == 0, done.text
    sizes = ",".join(o for o in small.split(",") if not o.startswith("text.max"))
    project.ran("--env=reviews", f"--params={sizes},text.max_sen_len=64")
    own, _ = below_data(project, "reviews")
    assert own["07_model_output/predictions/test.parquet"]
    report = json.loads(own["08_reporting/data_report.json"])
    assert {s: v["rows"] for s, v in report["splits"].items()} == SAMPLE
    shutil.rmtree(project.path)
