"""load, text and tabular on whole public datasets, judged by the files themselves."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from tokenizers import Tokenizer

pytestmark = pytest.mark.data

SETS = ("sgd_user_act", "multidogo_intent", "taskmaster3_reward")
SPLITS = ("train", "val", "test")
SAMPLED = 200


class Prepared:
    """A dataset after the three stages: its own files, and ours."""

    def __init__(self, project, name, source):
        self.project, self.name, self.source = project, name, source
        self.meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))

    def raw(self, split):
        return pd.read_parquet(self.source / f"{split}.parquet")

    def path(self, layer, name):
        return self.project.data(f"{layer}/{self.name}/{name}")

    def json(self, layer, name):
        return json.loads(self.path(layer, f"{name}.json").read_text(encoding="utf-8"))

    def arrow(self, split, kind):
        path = self.path("05_model_input", f"{split}_{kind}.arrow")
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    rows = dict.fromkeys(SPLITS, 20)  # the demo files are of no interest here
    return make_project(tmp_path_factory.mktemp("sets") / "project", rows=rows)


@pytest.fixture(scope="module", params=SETS)
def prepared(request, project, public_data, minilm):
    source = public_data(request.param)
    settings = f"data_dir={source},text.encoder={minilm}"
    project.ran(f"--env={request.param}", "--pipelines=prepare", f"--params={settings}")
    return Prepared(project, request.param, source)


def test_the_environment_takes_the_roles_of_the_dataset(prepared):
    path = prepared.project.path / "conf" / prepared.name / "parameters.yml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    for role in ("id", "label", "text", "categorical", "numeric"):
        assert data[role] == prepared.meta[role], role
    classes = prepared.json("02_intermediate", "schema")["classes"]
    assert sorted(classes) == sorted(prepared.meta["class_counts"]["train"])


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_comes_out_once_in_its_place(prepared, split):
    raw = prepared.raw(split)
    typed = pd.read_parquet(prepared.path("02_intermediate", f"{split}.parquet"))
    features = prepared.arrow(split, "features")
    assert len(raw) == prepared.meta["rows"][split]
    ids = raw[prepared.meta["id"]].astype(str).tolist()
    assert typed[prepared.meta["id"]].tolist() == ids
    assert features["id"].to_pylist() == ids
    assert prepared.arrow(split, "tokens").num_rows == len(ids)
    classes = prepared.json("02_intermediate", "schema")["classes"]
    labels = raw[prepared.meta["label"]].astype(str).map(classes.index)
    assert features["label"].to_pylist() == labels.tolist()
    for column in (*prepared.meta["text"], *prepared.meta["categorical"]):
        assert typed[column].tolist() == raw[column].fillna("").tolist(), column


@pytest.mark.parametrize("split", SPLITS)
def test_the_tokens_of_a_row_are_those_of_its_own_text(prepared, split, minilm):
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    raw, tokens = prepared.raw(split), prepared.arrow(split, "tokens")
    report = prepared.json("08_reporting", "text_report")[split]
    for field in prepared.meta["text"]:
        empty = raw[field].str.strip().eq("").to_numpy()
        chunks = tokens[field].to_pylist()
        without = np.array([not row for row in chunks])
        assert not (empty & ~without).any()
        assert without.sum() == report[field]["rows_without_tokens"]
        # Rows without markup: there cleaning has nothing to do.
        plain = np.flatnonzero(~raw[field].str.contains("[<&]|[^\x00-\x7f]"))
        for row in np.linspace(0, len(plain) - 1, SAMPLED).astype(int):
            at = plain[row]
            expected = tokenizer.encode(raw[field][at], add_special_tokens=False).ids
            found = [token for chunk in chunks[at] for token in chunk[1:-1]]
            assert found == expected[: len(found)], (field, at)
            if report[field]["rows_with_dropped_tokens"] == 0:
                assert len(found) == len(expected)
            assert {(chunk[0], chunk[-1]) for chunk in chunks[at]} <= {(101, 102)}


@pytest.mark.parametrize("split", SPLITS)
def test_every_feature_is_a_number(prepared, split):
    features = prepared.arrow(split, "features").to_pandas()
    values = features.drop(columns=["id", "label"])
    assert np.isfinite(values.to_numpy()).all()
    for name in values.columns[values.columns.str.startswith("missing:")]:
        assert set(values[name].unique()) <= {0.0, 1.0}
    if split == "train":
        scaled = values.loc[:, ~values.columns.str.startswith("missing:")]
        assert scaled.mean().abs().max() < 1e-3
        spread = scaled.std(ddof=0)
        assert ((spread - 1).abs().lt(1e-3) | spread.eq(0)).all()


def test_a_number_that_never_varies_is_zero_everywhere(prepared):
    train = prepared.raw("train")
    constant = [c for c in prepared.meta["numeric"] if train[c].nunique() == 1]
    assert constant == (["valid_json"] if prepared.name == "taskmaster3_reward" else [])
    for split in SPLITS:
        for column in constant:
            values = prepared.arrow(split, "features")[f"num:{column}"].to_numpy()
            same = prepared.raw(split)[column] == train[column].iloc[0]
            assert (values[same] == 0).all()


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_unseen_category_takes_the_share_of_all_train_rows(prepared, split):
    train, other = prepared.raw("train"), prepared.raw(split)
    features = prepared.arrow(split, "features").to_pandas()
    scaler = prepared.json("04_feature", "scaler")["features"]
    labels = train[prepared.meta["label"]].astype(str)
    for column in prepared.meta["categorical"]:
        unseen = ~other[column].isin(train[column].unique())
        if split == "test":
            rate = prepared.meta["test_unseen_category_rate"][column]
            assert unseen.mean() == pytest.approx(rate, abs=1e-4)
        for name in features.columns[features.columns.str.match(f"cat:{column}(:|$)")]:
            label = name.removeprefix(f"cat:{column}").removeprefix(":") or "1"
            prior = (labels == label).mean()
            expected = (prior - scaler[name]["mean"]) / scaler[name]["std"]
            assert features.loc[unseen, name].to_numpy() == pytest.approx(
                np.full(unseen.sum(), expected), abs=1e-5
            )


@pytest.mark.parametrize("prepared", ["sgd_user_act"], indirect=True)
def test_the_report_counts_the_services_that_only_test_has(prepared):
    findings = prepared.json("08_reporting", "data_report")["findings"]
    seen = prepared.raw("train")["service"].unique()
    rows = int((~prepared.raw("test")["service"].isin(seen)).sum())
    (message,) = (
        found["message"]
        for found in findings
        if found.get("split") == "test" and found.get("column") == "service"
    )
    assert message.startswith(f"{rows} rows")


@pytest.mark.parametrize("prepared", ["taskmaster3_reward"], indirect=True)
def test_long_contexts_are_continued_in_further_chunks(prepared):
    chunks = prepared.arrow("train", "tokens")["context"].combine_chunks()
    counts = np.diff(chunks.offsets.to_numpy())
    assert (counts > 1).mean() == pytest.approx(0.52, abs=0.02)
    assert counts.max() == 5
    assert np.diff(chunks.values.offsets.to_numpy()).max() == 512
