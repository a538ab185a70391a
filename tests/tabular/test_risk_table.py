"""Risk tables say what a slow computation says, and train rows never see themselves."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json
from tabweave.tabular.category_counts import count_categories
from tabweave.tabular.config import RiskSettings
from tabweave.tabular.folds import assign_folds
from tabweave.tabular.risk_table import RiskTables, cross_fitted, fit_risk_tables

BINARY = DataSchema(
    id="id",
    label="y",
    categorical=("c", "d"),
    classes=("no", "yes"),
    positive_label="no",
)
THREE = BINARY.model_copy(
    update={"classes": ("no", "yes", "so"), "positive_label": "so"}
)
SCHEMAS = pytest.mark.parametrize("schema", [BINARY, THREE], ids=["binary", "three"])


def table(rows):
    ids, labels, c, d = zip(*rows, strict=True)
    return pa.table({"id": ids, "y": labels, "c": c, "d": d})


def sample(schema, n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(schema.classes, n)
    c = rng.choice(["", "a", "b", "ü", "rare"], n, p=[0.2, 0.4, 0.2, 0.19, 0.01])
    d = rng.integers(0, 60, n).astype(str)
    ids = [f"id{i}" for i in range(n)]
    return table(list(zip(ids, labels.tolist(), c.tolist(), d.tolist(), strict=True)))


def fit(data, schema, settings):
    counts = count_categories(data.to_batches(), schema)
    return fit_risk_tables(counts, schema, settings)


def slow_value(pairs, category, target, settings):
    """The formula, from a list of (category, label)."""
    labels = [label for _, label in pairs]
    prior = labels.count(target) / len(labels)
    k = int(len(pairs) * settings.smooth_factor)
    own = [label for seen, label in pairs if seen == category]
    if not own or len(own) < settings.count_threshold:
        return prior
    return (own.count(target) + k * prior) / (len(own) + k)


def targets(schema):
    return [schema.positive_label] if len(schema.classes) == 2 else schema.classes


def pairs_of(data, column):
    return list(zip(data[column].to_pylist(), data["y"].to_pylist(), strict=True))


SETTINGS = st.builds(
    RiskSettings,
    smooth_factor=st.sampled_from([0, 0.01, 0.1, 1.5]),
    count_threshold=st.integers(0, 4),
    cross_fit=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 3),
)


def rows_of(schema):
    label = st.sampled_from(schema.classes)
    category = st.sampled_from(["", "a", "b", "_count_", "nan", "1", "1.0"])
    return st.lists(st.tuples(label, category), min_size=1, max_size=40).map(
        lambda rows: table([(str(i), y, c, c) for i, (y, c) in enumerate(rows)])
    )


@SCHEMAS
@given(data=st.data(), settings=SETTINGS)
@settings(max_examples=60, deadline=None)
def test_fitted_values_are_those_of_the_formula(schema, data, settings):
    train = data.draw(rows_of(schema))
    fitted = fit(train, schema, settings)
    later = table([("r", schema.classes[0], c, c) for c in ["", "a", "1", "never"]])
    found = fitted.transform(later)["c"]
    for category, values in zip(later["c"].to_pylist(), found, strict=True):
        for target, value in zip(targets(schema), values, strict=True):
            assert value == slow_value(pairs_of(train, "c"), category, target, settings)


@SCHEMAS
@given(data=st.data(), settings=SETTINGS)
@settings(max_examples=60, deadline=None)
def test_a_train_row_gets_the_formula_over_the_other_folds(schema, data, settings):
    train = data.draw(rows_of(schema))
    fitted = fit(train, schema, settings)
    folds = assign_folds(train, schema, settings)
    if settings.cross_fit > 1 and len(set(folds)) == 1:
        with pytest.raises(SchemaError, match="are in one of"):
            cross_fitted(train, schema, fitted)
        return
    found = cross_fitted(train, schema, fitted)["c"]
    pairs = pairs_of(train, "c")
    for i, (category, _) in enumerate(pairs):
        others = [
            pair
            for pair, fold in zip(pairs, folds, strict=True)
            if settings.cross_fit == 1 or fold != folds[i]
        ]
        for target, value in zip(targets(schema), found[i], strict=True):
            assert value == slow_value(others, category, target, settings)


@SCHEMAS
def test_flipping_a_rows_label_leaves_its_own_value(schema):
    data, settings = sample(schema), RiskSettings(count_threshold=1)
    before = cross_fitted(data, schema, fit(data, schema, settings))
    labels = data["y"].to_pylist()
    for row in (0, 17, 399):
        flipped = labels.copy()
        flipped[row] = next(c for c in schema.classes if c != labels[row])
        changed = data.set_column(1, "y", pa.array(flipped))
        after = cross_fitted(changed, schema, fit(changed, schema, settings))
        for name in schema.categorical:
            np.testing.assert_array_equal(after[name][row], before[name][row])
            assert (after[name] != before[name]).any()


@SCHEMAS
def test_a_whole_group_never_sees_its_own_labels(schema):
    data = sample(schema)
    seller = [f"s{i % 20}" for i in range(400)]
    data = data.append_column("seller", pa.array(seller))
    settings = RiskSettings(group="seller", count_threshold=1)
    before = cross_fitted(data, schema, fit(data, schema, settings))
    mine = np.array(seller) == "s3"
    labels = np.where(mine, schema.classes[0], data["y"].to_numpy(zero_copy_only=False))
    changed = data.set_column(1, "y", pa.array(labels.tolist()))
    after = cross_fitted(changed, schema, fit(changed, schema, settings))
    for name in schema.categorical:
        np.testing.assert_array_equal(after[name][mine], before[name][mine])


@SCHEMAS
def test_order_of_rows_and_number_of_batches_change_no_byte(schema):
    data = sample(schema)
    settings = RiskSettings()
    fitted = fit(data, schema, settings)
    order = np.random.default_rng(1).permutation(len(data))
    moved = data.take(order)
    counts = count_categories(moved.to_batches(max_chunksize=37), schema)
    again = fit_risk_tables(counts, schema, settings)
    assert dump_json(again.to_json()) == dump_json(fitted.to_json())
    values = cross_fitted(data, schema, fitted)
    for name, found in cross_fitted(moved, schema, again).items():
        np.testing.assert_array_equal(found, values[name][order])


@SCHEMAS
def test_twice_the_rows_double_the_counts_and_keep_the_values(schema):
    data = sample(schema)
    settings = RiskSettings(smooth_factor=0, count_threshold=0)
    once = fit(data, schema, settings)
    twice = fit(pa.concat_tables([data, data]), schema, settings)
    assert twice.to_map() == once.to_map()
    for name in schema.categorical:
        for category, rows in once.columns[name].counts.items():
            assert twice.columns[name].counts[category] == tuple(2 * n for n in rows)


@SCHEMAS
def test_renaming_categories_renames_the_bins_and_nothing_else(schema):
    data = sample(schema)
    new = {"": "zz", "a": "", "b": "a", "ü": "b", "rare": "ü"}
    renamed = data.set_column(2, "c", pa.array([new[c] for c in data["c"].to_pylist()]))
    settings = RiskSettings()
    old, moved = (fit(d, schema, settings) for d in (data, renamed))
    assert moved.columns["c"].bins == {
        new[category]: values for category, values in old.columns["c"].bins.items()
    }
    assert moved.columns["d"] == old.columns["d"]
    np.testing.assert_array_equal(
        cross_fitted(renamed, schema, moved)["c"], cross_fitted(data, schema, old)["c"]
    )


def test_missing_has_a_value_of_its_own_when_train_showed_it():
    rows = [
        (str(i), "no" if i < 8 else "yes", "" if i < 8 else "a", "q") for i in range(20)
    ]
    settings = RiskSettings(smooth_factor=0)
    fitted = fit(table(rows), BINARY, settings)
    later = pa.table({"c": pa.array([None, "", "?"]), "d": pa.array([None, "", "q"])})
    found = fitted.transform(later)
    assert found["c"].tolist() == [[1.0], [1.0], [0.4]]
    assert found["d"].tolist() == [[0.4], [0.4], [0.4]]


def test_the_value_is_about_the_positive_class_wherever_it_stands():
    data = sample(BINARY)
    other = BINARY.model_copy(update={"positive_label": "yes"})
    settings = RiskSettings(smooth_factor=0.1)
    no, yes = (fit(data, s, settings).columns["c"] for s in (BINARY, other))
    for category, (value,) in no.bins.items():
        assert value + yes.bins[category][0] == pytest.approx(1)


def test_values_of_all_classes_sum_to_one():
    for column in fit(sample(THREE), THREE, RiskSettings()).columns.values():
        for values in column.bins.values():
            assert sum(values) == pytest.approx(1)


def test_the_map_has_the_interchange_shape():
    binary = fit(sample(BINARY), BINARY, RiskSettings()).to_map()
    assert set(binary) == {"c", "d"}
    assert set(binary["c"]) == {"bins", "default_bin"}
    assert set(binary["c"]["bins"]) == {"", "a", "b", "ü", "rare"}
    three = fit(sample(THREE), THREE, RiskSettings()).to_map()
    assert list(three["c"]) == ["no", "yes", "so"]
    assert isinstance(three["c"]["so"]["bins"]["ü"], float)
    assert isinstance(three["c"]["so"]["default_bin"], float)


@SCHEMAS
def test_json_gives_the_tables_back_and_explains_them(schema):
    data = sample(schema)
    fitted = fit(data, schema, RiskSettings(cross_fit=3, seed=4))
    written = json.loads(dump_json(fitted.to_json()))
    assert RiskTables.from_json(written) == fitted
    labels = Counter(data["y"].to_pylist())
    assert written["class_counts"] == [labels[c] for c in schema.classes]
    assert written["prior"] == {t: labels[t] / 400 for t in targets(schema)}
    assert (written["rows"], written["smoothing_rows"]) == (400, 4)
    assert (written["settings"]["cross_fit"], written["settings"]["seed"]) == (3, 4)
    assert written["tables"] == fitted.to_map()


@pytest.mark.parametrize("missing", ["settings", "targets", "tables", "counts"])
def test_damaged_tables_are_refused(missing):
    value = fit(sample(BINARY), BINARY, RiskSettings()).to_json()
    del value[missing]
    with pytest.raises(ArtifactError, match="risk tables are damaged"):
        RiskTables.from_json(value)


def test_only_the_rows_fitted_on_can_be_cross_fitted():
    data = sample(BINARY)
    fitted = fit(data, BINARY, RiskSettings())
    with pytest.raises(SchemaError, match=r"counts of the labels, 'c', 'd' differ"):
        cross_fitted(data.slice(0, 399), BINARY, fitted)
    one_column = BINARY.model_copy(update={"categorical": ("c",)})
    with pytest.raises(SchemaError, match=r"counts of 'd' differ"):
        cross_fitted(data, one_column, fitted)


def test_a_train_table_without_rows_is_refused():
    empty = sample(BINARY).slice(0, 0)
    batch = pa.RecordBatch.from_pylist([], schema=empty.schema)
    with pytest.raises(SchemaError, match="train split has none"):
        fit_risk_tables(count_categories([batch], BINARY), BINARY, RiskSettings())


def auroc_with_noise(cross_fit):
    """Test AUROC of logistic regression on one true number and 10 random columns."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    names = tuple(f"noise{i}" for i in range(10))
    schema = DataSchema(
        id="id", label="y", categorical=names, classes=("0", "1"), positive_label="1"
    )
    signal = rng.normal(size=40_000)
    labels = (rng.random(40_000) < 1 / (1 + np.exp(-signal))).astype(int)
    data = pa.table(
        {"id": np.arange(40_000).astype(str), "y": labels.astype(str)}
        | {name: rng.integers(0, 5000, 40_000).astype(str) for name in names}
    )
    train, test = data.slice(0, 20_000), data.slice(20_000)
    fitted = fit(train, schema, RiskSettings(cross_fit=cross_fit))
    seen = np.hstack([*cross_fitted(train, schema, fitted).values()])
    unseen = np.hstack([*fitted.transform(test).values()])
    scaler = StandardScaler().fit(seen)

    def score(train_x, test_x):
        model = LogisticRegression().fit(train_x, labels[:20_000])
        return roc_auc_score(labels[20_000:], model.decision_function(test_x))

    signal = signal[:, None]
    return score(signal[:20_000], signal[20_000:]), score(
        np.hstack([signal[:20_000], scaler.transform(seen)]),
        np.hstack([signal[20_000:], scaler.transform(unseen)]),
    )


def test_noise_columns_cost_nothing_with_folds_and_much_without():
    alone, folded = auroc_with_noise(cross_fit=5)
    assert alone - folded <= 0.01
    alone, leaking = auroc_with_noise(cross_fit=1)
    assert alone - leaking > 0.05
