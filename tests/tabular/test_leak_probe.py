"""The probe sees features that know their own labels, and leaves honest ones alone."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tabweave.preparation.features import (
    feature_sources,
    fit_tabular,
    fit_train_scaler,
    probe_risk_features,
    train_features,
    transform_features,
)
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json
from tabweave.tabular import (
    PrecomputedFile,
    TabularConfig,
    precomputed_risk_tables,
    tabular_report,
)
from tabweave.tabular.leak_probe import Probe

BINARY = DataSchema(
    id="id",
    label="y",
    categorical=("noise", "shop"),
    numeric=("price",),
    classes=("no", "yes"),
    positive_label="no",
)
THREE = BINARY.model_copy(update={"classes": ("a", "b", "c"), "positive_label": "c"})
SCHEMAS = pytest.mark.parametrize("schema", [BINARY, THREE], ids=["binary", "three"])


def table(schema, n, seed):
    """`noise` has four rows per level, and `shop` really says something."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(schema.classes, n)
    shop = np.where(rng.random(n) < 0.4, labels, rng.choice(schema.classes, n))
    return pa.table(
        {
            "id": [f"{seed}-{i}" for i in range(n)],
            "y": labels.tolist(),
            "noise": rng.integers(0, n // 4, n).astype(str).tolist(),
            "shop": shop.tolist(),
            "price": pa.array(rng.normal(0, 1, n), pa.float32()),
        }
    )


def report_of(schema, given=False, files=(None, None, None), **options):
    """The report after fitting on 2,000 rows, the probes and the features."""
    train, val = table(schema, 2_000, 0), table(schema, 1_000, 1)
    fitted = fit_tabular(train, schema, TabularConfig(count_threshold=1, **options))
    imputer, risks, scaler = fitted.imputer, fitted.risk_tables, fitted.scaler
    if given:
        file = PrecomputedFile(
            Path("risk_table_map.json"), risks.to_map() | {"old": {}}
        )
        risks = precomputed_risk_tables(file, train, schema)
        scaler = fit_train_scaler(train, schema, imputer, risks)
        files = (None, None, file)
    tables = [
        train_features(train, schema, imputer, risks, scaler),
        transform_features(val, schema, imputer, risks, scaler),
    ]
    probes = probe_risk_features(
        *tables, feature_sources(schema, imputer, risks), schema
    )
    return tabular_report(probes, schema, imputer, risks, files), probes, tables


def test_one_class_alone_is_undefined():
    assert Probe(math.nan, 0.5, 0.1).to_json() == {
        "train": None,
        "val": 0.5,
        "gap": None,
    }
    assert not Probe(0.5, math.nan, 0.1).defined


@SCHEMAS
def test_cross_fitted_features_have_no_finding(schema):
    report, _, tables = report_of(schema)
    names = [name for name in tables[0].column_names if name.startswith("cat:")]
    assert list(report["leak_probe"]) == names
    assert len(names) == (2 if schema is BINARY else 6)
    assert report["findings"] == []
    assert report["cross_fit"] == 5
    assert report["precomputed"] == {}
    assert report["train_rows_with_known_category"] == {}


@SCHEMAS
@pytest.mark.parametrize("given", [True, False])
def test_features_that_know_their_labels_are_found(schema, given):
    """Four rows per level: on train the level is nearly the label, on val nothing."""
    options = {"smooth_factor": 0.0} | ({} if given else {"cross_fit": 1})
    report, probes, _ = report_of(schema, given, **options)
    first, *others = [f for f in report["findings"] if f["severity"] == "warning"]
    source = "pre-computed risk tables" if given else "tabular.cross_fit 1"
    assert first["message"].startswith(f"{source}: train rows are not cross-fitted")
    worst = max(probes, key=lambda name: probes[name].gap)
    assert worst.startswith("cat:noise")
    assert f"{worst}: AUROC {probes[worst].train:.3f} on train" in first["message"]
    assert {f["column"] for f in others} == {n for n in probes if "noise" in n}
    assert probes[worst].train > 0.75
    assert abs(probes[worst].val - 0.5) < 0.1
    assert report["cross_fit"] == (None if given else 1)


@SCHEMAS
def test_each_feature_is_judged_for_the_class_it_is_about(schema):
    _, probes, tables = report_of(schema)
    for name, probe in probes.items():
        target = schema.classes.index(name.split(":")[2] if schema is THREE else "no")
        for features, found in zip(tables, (probe.train, probe.val), strict=True):
            slow = roc_auc_score(features["label"].to_numpy() == target, features[name])
            assert found == pytest.approx(slow, abs=1e-12)


def test_the_report_names_the_files_and_what_they_hold_for_nothing():
    report, _, _ = report_of(BINARY, given=True)
    assert report["precomputed"] == {"risk_table_map": "risk_table_map.json"}
    assert [f for f in report["findings"] if f["severity"] == "info"] == [
        {
            "severity": "info",
            "split": "train",
            "column": "old",
            "message": "risk_table_map.json holds it, but it is not used",
        }
    ]
    assert report["train_rows_with_known_category"] == {"noise": 1.0, "shop": 1.0}
    assert dump_json(report)


def test_a_table_that_knows_few_rows_is_a_warning():
    train = table(BINARY, 400, 0)
    fitted = fit_tabular(train, BINARY, TabularConfig())
    value = fitted.risk_tables.to_map()
    bins = value["noise"]["bins"]
    value["noise"]["bins"] = dict(list(bins.items())[:10])
    file = PrecomputedFile(Path("risk_table_map.pkl"), value)
    risks = precomputed_risk_tables(file, train, BINARY)
    report = tabular_report({}, BINARY, fitted.imputer, risks, [file])
    known = sum(n in list(bins)[:10] for n in train["noise"].to_pylist()) / 400
    assert report["train_rows_with_known_category"]["noise"] == known
    (warning,) = report["findings"]
    assert warning["column"] == "noise"
    assert f"knows the category of {known:.1%} of the train rows" in warning["message"]


def test_val_of_one_class_is_no_crash():
    train = table(BINARY, 400, 0)
    fitted = fit_tabular(train, BINARY, TabularConfig(cross_fit=1))
    parts = fitted.imputer, fitted.risk_tables, fitted.scaler
    features = train_features(train, BINARY, *parts)
    one = features.filter(pa.compute.equal(features["label"], 1))
    sources = feature_sources(BINARY, *parts[:2])
    probes = probe_risk_features(features, one, sources, BINARY)
    report = tabular_report(probes, BINARY, *parts[:2], [])
    assert {probe["val"] for probe in report["leak_probe"].values()} == {None}
    assert "no feature could be judged" in report["findings"][0]["message"]


@pytest.mark.parametrize(
    ("probe", "found"),
    [
        (Probe(0.65, 0.55, 0.02), True),
        (Probe(0.65, 0.55, 0.03), False),  # four standard errors
        (Probe(0.60, 0.56, 0.001), False),  # too small to matter
        (Probe(0.55, 0.65, 0.001), False),
        (Probe(math.nan, 0.5, math.nan), False),
    ],
)
def test_a_gap_is_a_warning_when_it_is_large_and_no_chance(probe, found):
    train = table(BINARY, 400, 0)
    fitted = fit_tabular(train, BINARY, TabularConfig())
    parts = fitted.imputer, fitted.risk_tables
    report = tabular_report({"cat:shop": probe}, BINARY, *parts, [])
    assert [f["column"] for f in report["findings"]] == ["cat:shop"] * found
    if found:
        assert str(probe) in report["findings"][0]["message"]
