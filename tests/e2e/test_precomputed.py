"""Tables of one run are handed to another as pre-computed files of an upstream step."""

import json
import pickle
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tabweave.tabular import Imputer, RiskTables

STAGES = "--pipelines=load,tabular"
IMPUTATION, RISKS = "precomputed_imputation", "precomputed_risk_tables"
SPLITS = ("train", "val", "test")


def features(project, split):
    with pa.memory_map(
        str(project.data(f"05_model_input/{split}_features.arrow"))
    ) as file:
        return pa.ipc.open_file(file).read_all()


def read_json(project, name):
    return json.loads(project.data(name).read_text(encoding="utf-8"))


def params(**values):
    pairs = {k: str(v).lower() for k, v in values.items()}
    return f"--params={','.join(f'tabular.{k}={v}' for k, v in pairs.items())}"


def maps(project):
    """What `project` has fitted, in the interchange form."""
    return {
        "impute_dict": Imputer.from_json(
            read_json(project, "04_feature/imputer.json")
        ).to_map(),
        "risk_table_map": RiskTables.from_json(
            read_json(project, "04_feature/risk_tables.json")
        ).to_map(),
    }


def write(folder, values, ending):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        path = folder / f"{name}.{ending}"
        if ending == "json":
            path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        else:
            path.write_bytes(pickle.dumps(value, 2))


@pytest.fixture(scope="module")
def inline(make_project, tmp_path_factory):
    """A project whose tables were fitted in-sample, as pre-computed ones must be used."""
    project = make_project(tmp_path_factory.mktemp("inline") / "project")
    project.ran(STAGES, params(cross_fit=1))
    return project


@pytest.fixture
def project(inline, tmp_path):
    """The same raw files, and nothing computed."""
    copy = inline.copy(tmp_path / "project")
    for folder in ("02_intermediate", "04_feature", "05_model_input", "08_reporting"):
        shutil.rmtree(copy.data(folder))
    return copy


@pytest.mark.parametrize("ending", ["json", "pkl"])
def test_exported_tables_give_the_features_of_the_inline_fit(inline, project, ending):
    write(project.data("01_raw/model_artifacts_input"), maps(inline), ending)
    done = project.ran(STAGES, params(**{IMPUTATION: True, RISKS: True}))
    for split in SPLITS:
        assert features(project, split).equals(features(inline, split)), split
    assert maps(project) == maps(inline)
    # One line says what cannot be had now, and the report has the figures.
    (line,) = [text for text in done.text.splitlines() if "cross-fitted" in text]
    assert re.search(r"AUROC \d\.\d+ on train, \d\.\d+ on val", line)
    report = read_json(project, "08_reporting/tabular_report.json")
    assert report["cross_fit"] is None
    assert report["precomputed"] == {
        "impute_dict": f"impute_dict.{ending}",
        "risk_table_map": f"risk_table_map.{ending}",
    }
    assert report["findings"][0]["severity"] == "warning"
    assert len(report["leak_probe"]) == 4


def test_risk_values_of_val_and_test_are_those_of_a_cross_fitted_run(inline, project):
    """Only train rows, and with them the scaling, know how they were cross-fitted."""
    write(project.data("01_raw/model_artifacts_input"), maps(inline), "json")
    project.ran(STAGES, params(**{IMPUTATION: True, RISKS: True}))
    given = {split: features(project, split) for split in SPLITS}
    scales = read_json(project, "04_feature/scaler.json")["features"]
    done = project.ran("--pipelines=tabular")
    assert "cross-fitted" not in done.text
    own = read_json(project, "04_feature/scaler.json")["features"]
    for split in SPLITS:
        fitted = features(project, split)
        assert fitted.column_names == given[split].column_names
        for name in fitted.column_names:
            if name.startswith("num:") or name in ("id", "label"):
                assert fitted[name].equals(given[split][name]), name
            elif name.startswith("cat:") and split != "train":
                one, other = (
                    table[name].to_numpy().astype(float) * scale[name]["std"]
                    + scale[name]["mean"]
                    for table, scale in ((fitted, own), (given[split], scales))
                )
                np.testing.assert_allclose(one, other, atol=1e-6)
    train = features(project, "train")
    assert not train["cat:seller_id"].equals(given["train"]["cat:seller_id"])


def test_variables_of_the_process_and_another_folder(inline, project, tmp_path):
    write(tmp_path / "given", maps(inline), "json")
    code = """
import os, sys
os.environ["USE_PRECOMPUTED_IMPUTATION"] = "true"
os.environ["USE_PRECOMPUTED_RISK_TABLES"] = "true"
sys.argv[0] = "kedro"
from kedro.framework.cli.cli import main
main()
"""
    option = f"--params=model_artifacts_input={tmp_path / 'given'}"
    done = project.python("-c", code, "run", STAGES, option)
    assert done.code == 0, done.text
    for split in SPLITS:
        assert features(project, split).equals(features(inline, split)), split
    record = read_json(project, "04_feature/imputer.json.provenance.json")
    assert record["parameters"]["tabular"][IMPUTATION] is True
    assert "impute_dict.raw" in record["inputs"]
    # Without the variables, what was made with them is stale, and the line says why.
    done = project.run("--pipelines=train")
    assert done.code == 1
    assert f"tabular.{IMPUTATION}: True -> False (stage tabular)" in done.err


def test_a_variable_that_means_nothing_stops_the_run(project):
    code = """
import os, sys
os.environ["USE_PRECOMPUTED_IMPUTATION"] = "yes"
sys.argv[0] = "kedro"
from kedro.framework.cli.cli import main
main()
"""
    done = project.python("-c", code, "run", STAGES)
    assert done.code == 1
    assert "USE_PRECOMPUTED_IMPUTATION is 'yes', but must be 'true' or" in done.err
    assert "Traceback" not in done.text


def test_a_changed_file_makes_what_was_made_from_it_stale(inline, project):
    folder = project.data("01_raw/model_artifacts_input")
    write(folder, maps(inline), "json")
    options = params(**{IMPUTATION: True, RISKS: True})
    project.ran("--pipelines=load,text,tabular", options)
    value = maps(inline)["impute_dict"]
    write(folder, {"impute_dict": {**value, "price": 1.0}}, "json")
    done = project.run("--pipelines=train", options)
    assert done.code == 1
    assert "imputer: made from another impute_dict.raw than" in done.err
    assert "risk_tables: " not in done.err
    assert "Re-run: python -m kedro run --pipelines=tabular,train" in done.err
    # A file that is gone cannot be compared; what was made from it still stands.
    shutil.rmtree(folder)
    project.ran("--pipelines=train", options)


def test_selected_columns_alone_become_features(project):
    folder = project.data("01_raw/model_artifacts_input")
    names = ["seller_id", "price", "account_age_days"]
    write(folder, {"selected_features": names}, "json")
    project.ran(STAGES, params(selected_features=True))
    for split in SPLITS:
        found = features(project, split).column_names
        kept = [n for n in found if not n.startswith("missing:")]
        assert kept == [
            *("id", "label", "num:price", "num:account_age_days", "cat:seller_id")
        ]
    write(folder, {"selected_features": [*names, "prise"]}, "json")
    done = project.run(STAGES, params(selected_features=True))
    assert done.code == 1
    assert "column 'prise' is neither under data.categorical nor under" in done.err
    assert "Did you mean 'price'?" in done.err


@pytest.mark.slow
def test_the_baselines_see_the_selected_columns_alone(copied):
    report = "08_reporting/baseline_report.json"
    before = read_json(copied, report)["logistic_regression"]["features"]
    folder = copied.data("01_raw/model_artifacts_input")
    write(folder, {"selected_features": ["price", "category"]}, "json")
    copied.ran("--pipelines=tabular,train,evaluate", params(selected_features=True))
    after = read_json(copied, report)["logistic_regression"]["features"]
    sellers = pc.count_distinct(
        pq.read_table(copied.data("02_intermediate/train.parquet"))["seller_id"]
    ).as_py()
    assert after <= before - sellers
    record = read_json(copied, f"{report}.provenance.json")
    assert "selected_schema" in record["inputs"]
    record = read_json(copied, "04_feature/selected_schema.json.provenance.json")
    assert "selected_features.raw" in record["inputs"]


def test_what_does_not_fit_is_refused_on_one_screen(inline, project, tmp_path):
    found = maps(inline)
    del found["impute_dict"]["price"]
    bins = found["risk_table_map"]["seller_id"]["bins"]
    found["risk_table_map"]["seller_id"]["bins"] = {
        k.lower(): v for k, v in bins.items()
    }
    folder = project.data("01_raw/model_artifacts_input")
    write(folder, found, "json")
    for option, said in [
        ({IMPUTATION: True}, "column 'price' is not in it"),
        ({RISKS: True}, "no category of train is among the keys of bins"),
    ]:
        done = project.run(STAGES, params(**option))
        assert done.code == 1
        assert said in done.err, done.err
        assert "Traceback" not in done.text
        assert not project.data("05_model_input/val_features.arrow").exists()
    shutil.rmtree(folder)
    done = project.run(STAGES, params(**{IMPUTATION: True}))
    assert done.code == 1
    assert "No impute_dict.json or impute_dict.pkl found in" in done.err
    assert "Traceback" not in done.text


def test_a_hostile_pickle_stops_the_run_and_does_nothing(project, tmp_path):
    folder = project.data("01_raw/model_artifacts_input")
    folder.mkdir()
    fired = tmp_path / "fired"
    attack = f"cos\nsystem\n(Vtouch {fired}\ntR.".encode()
    (folder / "impute_dict.pkl").write_bytes(attack)
    done = project.run(STAGES, params(**{IMPUTATION: True}))
    assert done.code == 1
    assert "impute_dict.pkl is not read: it asks for 'os.system'" in done.err
    assert "Traceback" not in done.text
    assert not fired.exists()
