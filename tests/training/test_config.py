import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tabweave.statistics.classification import METRICS
from tabweave.training.config import TrainingConfig, lower_is_better

NO_TORCH = """
import sys, tabweave.training.config
heavy = {"torch", "transformers", "lightning"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def validations(batches, between):
    """Batches of one epoch after which there is a validation."""
    return [n for n in range(1, batches + 1) if n % between == 0]


@pytest.mark.parametrize(
    ("interval", "batches", "expected"),
    [
        (0.5, 10, 5),
        (0.5, 1, 1),
        (1, 10, 10),
        (1.0, 10, 10),
        (0.01, 10, 1),
        (0.25, 10, 2),
        (2, 10, 2),
        (50.0, 10, 50),
    ],
)
def test_an_interval_is_a_share_of_an_epoch_or_batches(interval, batches, expected):
    config = TrainingConfig(val_check_interval=interval)
    assert config.batches_between_checks(batches) == expected


@given(st.floats(0.001, 1), st.integers(1, 5000))
def test_a_share_of_an_epoch_is_always_checked(interval, batches):
    between = TrainingConfig(val_check_interval=interval).batches_between_checks(
        batches
    )
    assert 1 <= between <= batches


@pytest.mark.parametrize(
    ("interval", "batches", "expected"),
    [
        (0.5, 1, 1),
        (0.5, 2, 2),
        (0.5, 3, 3),
        (0.5, 10, 6),  # 5 would cut the second step of three batches
        (0.1, 10, 3),
        (1, 10, 10),
        (6, 10, 6),
    ],
)
def test_a_check_comes_between_two_accumulated_steps(interval, batches, expected):
    config = TrainingConfig(val_check_interval=interval, accumulate_grad_batches=3)
    assert config.batches_between_checks(batches) == expected


def test_an_interval_in_batches_that_cuts_a_step_is_refused():
    with pytest.raises(
        ValidationError, match="5 counts batches and must be a multiple"
    ):
        TrainingConfig(val_check_interval=5, accumulate_grad_batches=3)


@pytest.mark.parametrize("batching", ["padded", "bucketed"])
def test_a_token_budget_beside_padding_is_refused(batching):
    with pytest.raises(ValidationError, match="100 counts tokens without padding"):
        TrainingConfig(batching=batching, max_tokens_per_batch=100)
    assert TrainingConfig(batching=batching).max_tokens_per_batch is None
    assert TrainingConfig(max_tokens_per_batch=100).batching == "packed"


def test_a_decay_by_epoch_beside_a_scheduler_is_refused():
    for lr_decay in (0.0, 0.05):
        with pytest.raises(ValidationError, match="set run_scheduler to false"):
            TrainingConfig(lr_decay=lr_decay)
        config = TrainingConfig(lr_decay=lr_decay, run_scheduler=False)
        assert config.lr_decay == lr_decay
    assert TrainingConfig().lr_decay is None


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("val/loss", True),
        *((f"val/{name}", False) for name in METRICS),
        ("val/average_precision/loss", False),  # a class of that name
        ("val/closs", False),
    ],
)
def test_a_loss_is_better_when_smaller_and_a_metric_when_larger(metric, lower):
    assert lower_is_better(metric) == lower


@pytest.mark.parametrize("interval", [1.5, 2.25, 1.0000001])
def test_more_than_one_epoch_must_be_whole_batches(interval):
    with pytest.raises(ValidationError, match="must be a whole number") as caught:
        TrainingConfig(val_check_interval=interval)
    # More than the batches of one epoch is refused later: nothing may suggest it.
    assert "several epochs" not in str(caught.value)


@given(st.integers(1, 9), st.integers(1, 300), st.floats(0.01, 1))
def test_patience_in_epochs_is_the_checks_of_so_many_epochs(
    patience, batches, interval
):
    config = TrainingConfig(early_stop_patience=patience, val_check_interval=interval)
    per_epoch = len(validations(batches, config.batches_between_checks(batches)))
    assert config.patience_in_checks(batches) == patience * per_epoch


def test_an_epoch_with_one_check_gives_one_check_of_patience():
    config = TrainingConfig(early_stop_patience=3, val_check_interval=0.6)
    assert config.patience_in_checks(10) == 3


@pytest.mark.parametrize(
    ("given", "total", "expected"),
    [
        ({}, 200, 20),
        ({}, 4, 0),
        ({"warmup_fraction": 0.5}, 7, 4),
        ({"warmup_fraction": 0}, 200, 0),
        ({"warmup_steps": 30}, 200, 30),
        ({"warmup_steps": 0}, 200, 0),
    ],
)
def test_warmup_is_a_number_of_steps_or_a_share_of_all(given, total, expected):
    assert TrainingConfig(**given).warmup(total) == expected


def test_the_rate_of_an_encoder_depends_on_where_it_starts():
    config = TrainingConfig()
    assert config.encoder_rate(scratch=True) > config.encoder_rate(scratch=False)
    own = TrainingConfig(lr=7e-5)
    assert own.encoder_rate(scratch=True) == own.encoder_rate(scratch=False) == 7e-5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("max_tokens_per_batch", 0),
        ("accumulate_grad_batches", 0),
        ("batching", "sorted"),
        ("max_steps", 0),
        ("optimizer", "adamw"),
        ("layer_decay", 0),
        ("layer_decay", 1.1),
        ("momentum", 1),
        ("lr_decay", 1),
        ("loss", "hinge"),
        ("focal_gamma", -1),
        ("ema_decay", 1),
        ("save_top_k", 0),
        ("max_epochs", 0),
        ("lr", 0),
        ("head_lr", -1e-3),
        ("weight_decay", -0.1),
        ("adam_epsilon", 0),
        ("warmup_steps", -1),
        ("warmup_fraction", 1),
        ("class_weights", (1.0, 0.0)),
        ("class_weights", "balance"),
        ("gradient_clip_val", -1),
        ("early_stop_patience", 0),
        ("val_check_interval", 0),
        ("precision", "fp16"),
        ("threads", 0),
        ("seed", -1),
        ("log_every_n_steps", 0),
        ("learning_rate", 1e-3),
    ],
)
def test_an_impossible_value_is_refused_by_its_name(field, value):
    with pytest.raises(ValidationError, match=field):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize("weights", [None, "balanced", (1.0, 2.5), [1, 2, 3]])
def test_class_weights_are_none_balanced_or_numbers(weights):
    found = TrainingConfig(class_weights=weights).class_weights
    assert found == (tuple(weights) if isinstance(weights, list) else weights)


def test_reading_the_configuration_needs_no_torch():
    command = [sys.executable, "-c", NO_TORCH]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_artifacts_do_not_depend_on_how_a_run_went():
    plain = TrainingConfig()
    again = TrainingConfig(
        resume="required",
        checkpoint_every_n_steps=3,
        timeout_s=9,
        rendezvous="host:1",
        num_workers=1,
    )
    assert again.recorded() == plain.recorded()
    assert TrainingConfig(devices=2).recorded() != plain.recorded()
    assert "resume" in TrainingConfig.model_fields
    assert set(TrainingConfig.model_fields) >= TrainingConfig.OF_THE_RUN


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_nodes": 2}, r"num_nodes is 2, so rendezvous must say"),
        ({"rendezvous": "nowhere"}, "rendezvous"),
        ({"fsdp": {"sharding": "grad_op"}}, "strategy is auto; set strategy to fsdp"),
        ({"strategy": "fsdp", "gradient_compression": "bf16"}, "for strategy ddp"),
        ({"strategy": "fsdp", "ema_decay": 0.9}, r"ema_decay 0.9 averages whole"),
    ],
)
def test_processes_that_do_not_go_together_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        TrainingConfig(**given)
