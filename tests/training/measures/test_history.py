import math

import numpy as np
import pytest
import torch

from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.measures.history import (
    MEASURED_FROM,
    History,
    computed_tokens,
    curves,
    encoder_flops,
    finite,
    hyperparameters,
    matmul_shares,
    pads,
)
from tabweave.training.measures.matmul_peak import training_flops


@pytest.fixture
def history(fit):
    """A history over two epochs, and rows, tokens and loss of every step."""
    found, steps = History(), []

    def after(module, batch, outputs):
        steps.append((len(batch), batch.tokens, float(outputs["loss"])))

    trainer, _ = fit(callbacks=[found], after=after, batch_size=7, max_epochs=2)
    return found, steps, trainer


def test_there_is_one_record_per_validation(history):
    found, _, trainer = history
    assert [r["epoch"] for r in found.records] == [0, 1]
    assert [r["step"] for r in found.records] == [7, 14]
    last = found.records[-1]
    values = {
        k: float(v) for k, v in trainer.callback_metrics.items() if k[:4] == "val/"
    }
    assert {name: last[name] for name in values} == values
    assert "val/loss" in values
    assert "val/auroc" in values
    assert set(last) - set(values) == {
        *("epoch", "step", "train/loss", "rows", "tokens", "padding_share"),
        *("encoder_flops", "matmul_peak_share"),
        *("samples_per_second", "tokens_per_second"),
        *("train_seconds", "data_seconds", "step_seconds", "validation_seconds"),
        *("resident_memory_mib", "peak_memory_mib"),
    }


def test_the_loss_of_a_record_is_the_mean_over_its_rows(history):
    found, steps, _ = history
    assert len(steps) == 14
    for record, its in zip(found.records, (steps[:7], steps[7:]), strict=True):
        rows = sum(count for count, _, _ in its)
        assert record["rows"] == rows == 48
        total = sum(count * loss for count, _, loss in its)
        assert record["train/loss"] == pytest.approx(total / rows)


def test_throughput_is_rows_and_tokens_by_training_seconds(history):
    found, steps, _ = history
    for record, its in zip(found.records, (steps[:7], steps[7:]), strict=True):
        seconds = record["train_seconds"]
        tokens = sum(count for _, count, _ in its)
        assert record["samples_per_second"] * seconds == pytest.approx(48)
        assert record["tokens_per_second"] * seconds == pytest.approx(tokens)
        assert seconds > 0
        assert record["validation_seconds"] > 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training(fit, loss):
    def poison(module, batch):
        module.model.head.bias.data.fill_(loss)

    with pytest.raises(TrainingError, match=r"loss is nan at step 1, epoch 0\. Lower"):
        fit("tabular", callbacks=[History()], before=poison)


def test_the_seconds_add_up(history):
    found, _, _ = history
    for record in found.records:
        parts = record["data_seconds"] + record["step_seconds"]
        assert parts == pytest.approx(record["train_seconds"], abs=1e-3)
        assert record["data_seconds"] > 0
        assert record["step_seconds"] > 0


def test_undefined_values_are_there_as_none_and_forget_what_was(fit, scripted):
    found = History()
    fit(
        callbacks=[found],
        metric=scripted(None, 0.5, None),
        early_stop_metric="val/loss",
        max_epochs=3,
    )
    assert [record["val/score"] for record in found.records] == [None, 0.5, None]


def test_a_packed_batch_computes_its_tokens_and_a_padded_one_the_longest(tiny):
    model, rows = tiny.model("trimodal_bert"), tiny.rows("trimodal_bert")
    batch = rows.batch(np.array([0, 1, 2, 3]))
    assert computed_tokens(model, batch) == batch.tokens
    model.set_layout("padded")
    wanted = sum(len(text.lengths) * max(text.lengths) for text in batch.texts)
    assert computed_tokens(model, batch) == wanted > batch.tokens


def test_a_row_without_text_computes_nothing(tiny):
    model = tiny.model("multimodal_bert").set_layout("padded")
    batch = tiny.rows("multimodal_bert").batch(np.array([0]))
    assert batch.tokens == computed_tokens(model, batch) == 0


def watched(model, batch):
    """Positions that the encoder's lowest matrix is given."""
    seen = []
    table = next(
        m for m in model.text[0].modules() if isinstance(m, torch.nn.Embedding)
    )
    table.register_forward_hook(
        lambda module, given, out: seen.append(given[0].numel())
    )
    with torch.no_grad():
        model(batch)
    return seen[0]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("name", ["bert", "lstm", "cnn"])
def test_an_encoder_that_pads_is_known(tiny, name, layout):
    model, rows = tiny.model(name).set_layout(layout), tiny.rows(name)
    batch = rows.batch(np.array([1, 2, 3]))
    padded = len(batch.texts[0].lengths) * max(batch.texts[0].lengths)
    assert padded > batch.tokens
    wanted = layout == "padded" or name == "lstm"
    assert pads(model.text_encoders[0]) == wanted
    assert computed_tokens(model, batch) == (padded if wanted else batch.tokens)
    if name != "cnn":  # it has gaps between its packed chunks, which are not counted
        assert watched(model, batch) == computed_tokens(model, batch)


def test_the_operations_of_a_record_are_those_of_its_chunks(fit, tiny):
    lengths = [[], []]

    def after(module, batch, outputs):
        for field, text in enumerate(batch.texts):
            lengths[field] += text.lengths

    found = History()
    fit("trimodal_bert", callbacks=[found], after=after, max_epochs=1)
    config = tiny.spec("trimodal_bert").text[0].encoder
    wanted = training_flops(config, lengths[0]) + training_flops(config, lengths[1])
    (record,) = found.records
    assert record["encoder_flops"] == pytest.approx(wanted)
    assert wanted > 1e6


@pytest.mark.parametrize("name", ["lstm", "cnn", "tabular"])
def test_the_operations_of_other_encoders_are_not_known(tiny, name):
    model = tiny.model(name)
    lengths = [[5]] * len(model.text)
    assert encoder_flops(model, lengths) is None


def test_the_peak_is_measured_after_a_training_of_some_length():
    cpu = torch.device("cpu")

    def record(seconds, flops=1e9):
        return {
            "train_seconds": seconds,
            "encoder_flops": flops,
            "matmul_peak_share": None,
        }

    short = [record(MEASURED_FROM / 3), record(MEASURED_FROM / 3)]
    assert matmul_shares(short, "32-true", cpu) is None
    assert short[0]["matmul_peak_share"] is None
    assert matmul_shares([record(99.0, None)], "32-true", cpu) is None
    long = [record(10.0), record(5.0)]
    peak = matmul_shares(long, "32-true", cpu)
    assert 1e9 < peak < 1e16
    assert [r["matmul_peak_share"] for r in long] == pytest.approx(
        [1e9 / 10 / peak, 1e9 / 5 / peak]
    )


def test_curves_are_the_speed_and_memory_of_a_record(history):
    record = {**history[0].records[0], "padding_share": None}
    found = curves(record)
    assert found["speed/samples_per_second"] == record["samples_per_second"]
    assert found["memory/peak_memory_mib"] == record["peak_memory_mib"]
    assert "speed/padding_share" not in found
    assert {name.partition("/")[0] for name in found} == {"speed", "memory"}


def test_hyperparameters_are_flat(tiny):
    found = hyperparameters(
        model=tiny.spec("bert").model, training=TrainingConfig(class_weights=(1, 2))
    )
    assert found["training.class_weights"] == (1, 2)
    assert found["training.batch_size"] == 32
    assert found["model.scratch.hidden_size"] == 32
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("score", "wanted"),
    [(None, None), (torch.tensor(0.0), 0.0), (torch.tensor(math.inf), None)],
)
def test_a_score_is_a_number_or_nothing(score, wanted):
    assert finite(score) == wanted
