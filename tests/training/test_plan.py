import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models_fixtures import (
    FEATURES,
    FIELDS,
    model_config,
    token_column,
    token_info,
    write_features,
)
from tabweave.errors import ArtifactError, ConfigError, TrainingError
from tabweave.evaluation.config import validation_metrics
from tabweave.models.config import ARCHITECTURES
from tabweave.tables.files import ArrowFile, write_arrow
from tabweave.training.config import TrainingConfig
from tabweave.training.plan import make_plan, text_inputs


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_plan_has_all_that_a_run_needs(tiny, name, tmp_path):
    plan = tiny.plan(name, tmp_path, classes=3, seed=7)
    parts = ARCHITECTURES[name]
    fields = [field.name for field in plan.spec.text]
    assert plan.spec.model.model_class == name
    assert plan.spec.classes == ("class 0", "class 1", "class 2")
    assert plan.spec.features == (FEATURES if parts.table else ())
    assert fields == list(plan.train.fields) == list(plan.val.fields)
    assert len(plan.encoders) == len(fields) == len(FIELDS[: parts.fields])
    assert (len(plan.train), len(plan.val)) == (48, 24)
    assert plan.config.seed == 7
    assert plan.checkpoints == tmp_path / "checkpoints"
    assert plan.log_folder == tmp_path / "events"


def write_fields(path, fields):
    """A token table whose fields say different things of themselves."""
    table = pa.table({name: token_column([[[2, 9, 3]], []]) for name in fields})
    records = {
        name: json.dumps(asdict(token_info(**info))) for name, info in fields.items()
    }
    write_arrow(path, table.replace_schema_metadata(records))
    return ArrowFile(path)


def test_every_field_says_what_a_model_must_know(tmp_path, pretrained):
    first = {"max_sen_len": 10, "max_total_chunks": 2}
    second = {"encoder": str(pretrained), "pad_id": 5, "vocabulary_size": 190}
    tokens = write_fields(tmp_path / "t.arrow", {"a": first, "b": second})
    a, b = text_inputs(tokens)
    assert (a.name, a.encoder, a.max_sen_len, a.max_total_chunks) == (
        *("a", "scratch", 10, 2),
    )
    assert (b.name, b.encoder, b.pad_id, b.vocabulary_size) == (
        *("b", str(pretrained), 5, 190),
    )
    features = write_features(tmp_path / "f.arrow", np.ones((2, 4)), [0, 1])
    plan = plan_of((tokens, tokens), (features, features), "trimodal_bert")
    assert plan.encoders == ["scratch", str(pretrained)]
    assert [field.pad_id for field in plan.spec.text] == [0, 5]
    layers = [field.encoder["num_hidden_layers"] for field in plan.spec.text]
    assert layers == [2, 1]


def plan_of(tokens, features, name="multimodal_bert", training=None, **given):
    return make_plan(
        tokens=tokens,
        features=features,
        classes=("no", "yes"),
        model=model_config(name, **given.pop("model", {})),
        training=TrainingConfig(**(training or {})),
        metric=None,
        checkpoints=Path("run/checkpoints"),
        log_folder=Path("run/events"),
        **given,
    )


def _change(path):
    path.write_bytes(path.read_bytes() + b" ")


@pytest.fixture
def planned(tiny, pretrained, tmp_path):
    """A copy of the encoder's folder, and a function that plans with its tokens."""
    folder = shutil.copytree(pretrained, tmp_path / "encoder")
    tokens = write_fields(tmp_path / "t.arrow", {"a": {"encoder": str(folder)}})
    features = write_features(tmp_path / "f.arrow", np.ones((2, 4)), [0, 1])
    return folder, lambda: plan_of((tokens, tokens), (features, features))


def test_an_untouched_encoder_passes_at_the_time_of_training(planned):
    folder, plan = planned
    (folder / "README.md").write_text("no part of the encoder")
    assert plan().encoders == [str(folder)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: _change(f / "tokenizer.json"), "tokenizer.json is not the one"),
        (lambda f: _change(f / "model.safetensors"), "or the weights have changed"),
        (lambda f: _change(f / "config.json"), "config.json or the weights have"),
        (lambda f: (f / "model.safetensors").unlink(), "or the weights have changed"),
        (lambda f: (f / "tokenizer.json").unlink(), "lost its tokenizer"),
        (shutil.rmtree, "is gone since the text stage ran"),
    ],
)
def test_an_encoder_that_is_no_longer_the_one_of_the_tokens_is_refused(
    planned, change, what
):
    folder, plan = planned
    change(folder)
    with pytest.raises(ArtifactError, match=what) as caught:
        plan()
    assert str(caught.value).startswith(f"Text field 'a': the encoder {folder}")
    assert str(caught.value).endswith("Re-run the stages text, train.")


def test_more_fields_than_the_architecture_takes_are_refused(tiny):
    tokens, features = tiny.files()
    with pytest.raises(
        ConfigError, match=r"takes 1 text field, but text.fields gives 2: \['review'"
    ):
        plan_of((tokens, tokens), (features, features))


def test_a_token_table_without_its_record_is_refused(tmp_path, tiny):
    write_arrow(tmp_path / "t.arrow", pa.table({"review": token_column([[], []])}))
    bare = ArrowFile(tmp_path / "t.arrow")
    _, features = tiny.files(rows=2)
    with pytest.raises(ArtifactError, match=r"'review'.*Re-run the stage text"):
        plan_of((bare, bare), (features, features))


def test_a_field_that_val_lacks_is_refused(tiny, tmp_path):
    train = write_fields(tmp_path / "train.arrow", {"a": {}})
    val = write_fields(tmp_path / "val.arrow", {"b": {}})
    _, features = tiny.files(rows=2)
    with pytest.raises(ArtifactError, match=r"val.arrow has no text field \['a'\]"):
        plan_of((train, val), (features, features))


@pytest.mark.parametrize(
    "names", [FEATURES[:3], (*FEATURES[:3], "num:other"), FEATURES[::-1]]
)
def test_other_features_in_val_than_in_train_are_refused(tiny, tmp_path, names):
    tokens, features = tiny.files(rows=4, fields=1)
    values = np.ones((4, len(names)))
    other = write_features(tmp_path / "f.arrow", values, [0, 1, 0, 1], names)
    with pytest.raises(TrainingError, match=r"train has the features .* but val has"):
        plan_of((tokens, tokens), (features, other))


def test_a_metric_that_no_validation_gives_is_refused_before_training(tiny):
    tokens, features = tiny.files(fields=1)
    names = validation_metrics(("no", "yes"))

    def plan(metric, metric_names=names):
        training = {"early_stop_metric": metric}
        files = ((tokens, tokens), (features, features))
        return plan_of(*files, training=training, metric_names=metric_names)

    for metric in ("val/loss", "val/auroc", "val/average_precision/yes"):
        assert plan(metric).config.early_stop_metric == metric
    with pytest.raises(ConfigError, match=r"'val/auc', .* mean 'val/auroc'\? Known: "):
        plan("val/auc")
    with pytest.raises(ConfigError, match=r"Known: 'val/loss', .*_precision/yes'\.$"):
        plan("val/average_precision/maybe")
    # Whoever brings a metric of their own need not list its names.
    assert plan("val/own", metric_names=None).config.early_stop_metric == "val/own"


def test_row_vectors_lie_beside_the_checkpoints_or_where_they_are_told_to(tiny):
    tokens, features = tiny.files(fields=1)
    files = ((tokens, tokens), (features, features))
    assert plan_of(*files).vectors == Path("run/row_vectors")
    assert plan_of(*files, vectors=Path("there")).vectors == Path("there")


def test_the_bins_of_numeric_features_come_from_train(tiny):
    train = tiny.files(fields=1)
    other = tiny.files(fields=1, rows=24, seed=3)
    files = ((train[0], other[0]), (train[1], other[1]))
    model = {"numeric_embedding": {"kind": "piecewise", "bins": 3}}
    found = plan_of(*files, model=model).spec.bins
    table = train[1].open()
    for edges, name in zip(found, ("num:amount", "num:age"), strict=True):
        wanted = np.quantile(table[name].to_numpy(), [0, 1 / 3, 2 / 3, 1])
        np.testing.assert_allclose(edges, wanted, rtol=1e-6)
    assert plan_of(*files).spec.bins == ()
