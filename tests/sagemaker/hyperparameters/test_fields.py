import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tabweave.sagemaker.hyperparameters import Hyperparameters
from tabweave.statistics.classification import METRICS

EXAMPLES = json.loads(
    (Path(__file__).parents[2] / "specification_examples.json").read_text("utf-8")
)
BINARY = EXAMPLES["binary_bert"]
# Key -> default, as the specification's tables give them.
DEFAULTS = {
    "hidden_common_dim": 100,
    "max_sen_len": 512,
    "chunk_trancate": False,
    "max_total_chunks": 5,
    "fixed_tokenizer_length": True,
    "text_input_ids_key": "input_ids",
    "text_attention_mask_key": "attention_mask",
    "smooth_factor": 0.0,
    "count_threshold": 0,
    "momentum": 0.9,
    "weight_decay": 0,
    "adam_epsilon": 1e-08,
    "dropout_keep": 0.5,
    "gradient_clip_val": 1.0,
    "lr_decay": 0.05,
    "kernel_size": (3, 5, 7),
    "num_layers": 2,
    "num_channels": (100, 100),
    "is_embeddings_trainable": True,
    "reinit_pooler": True,
    "reinit_layers": 2,
    "warmup_steps": 300,
    "run_scheduler": True,
    "early_stop_metric": "val/f1_score",
    "early_stop_patience": 3,
    "val_check_interval": 0.25,
    "metric_choices": ("auroc", "f1_score"),
    "load_ckpt": False,
    "fp16": False,
    "tokenizer": "bert-base-multilingual-cased",
    "accumulate_grad_batches": 1,
    "use_gradient_checkpointing": False,
    "class_weights": None,
    "imputation_dict": None,
    "risk_tables": None,
    "categorical_features_to_encode": None,
    "input_tab_dim": None,
    "multiclass_categories": None,
    "text_processing_steps": None,
    "train_filename": None,
}
REQUIRED = {
    *("id_name", "label_name", "full_field_list", "cat_field_list", "tab_field_list"),
    *("model_class", "num_classes", "is_binary"),
    *("batch_size", "max_epochs", "lr", "optimizer"),
}


def message(**changes):
    with pytest.raises(ValidationError) as caught:
        Hyperparameters(**BINARY | changes)
    return str(caught.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_specification_are_read(name):
    found = Hyperparameters(**EXAMPLES[name])
    for key, value in EXAMPLES[name].items():
        expected = tuple(value) if isinstance(value, list) else value
        assert getattr(found, key) == expected, key


@pytest.mark.parametrize("key", DEFAULTS)
def test_defaults_are_those_of_the_specification(key):
    assert Hyperparameters.model_fields[key].get_default() == DEFAULTS[key]


def test_required_keys_are_those_of_the_specification():
    fields = Hyperparameters.model_fields.items()
    assert {name for name, field in fields if field.is_required()} == REQUIRED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_classes": 3}, "For binary classification, num_classes must be 2"),
        ({"is_binary": False}, "multiclass_categories required"),
        (
            {"is_binary": False, "num_classes": 3, "multiclass_categories": ["a", "b"]},
            "num_classes=3 does not match len(multiclass_categories)=2",
        ),
        (
            {"multiclass_categories": ["a"]},
            "num_classes=2 does not match len(multiclass_categories)=1",
        ),
        (
            {"multiclass_categories": ["1", 1]},
            "multiclass_categories must contain unique values",
        ),
        ({"class_weights": [1.0]}, "class_weights must match num_classes"),
        ({"primary_text_name": "b"}, "text_name excludes primary_text_name"),
        ({"text_name": None}, "text_name is missing"),
        (
            {"text_name": None, "primary_text_name": "b"},
            "both primary_text_name and secondary_text_name",
        ),
        (
            {"primary_text_processing_steps": ["tokenizer"]},
            "primary_text_processing_steps belongs to primary_text_name",
        ),
        ({"categorical_features_to_encode": ["markt"]}, "not in cat_field_list"),
        ({"input_tab_dim": 3}, "input_tab_dim is 3, but tab_field_list has 2"),
        ({"early_stop_metric": "val/f1"}, "Did you mean 'val/f1_score'?"),
        ({"model_class": "trimodal_bert"}, "takes 2 text fields, but 1 are named"),
        ({"num_classes": 1}, "greater than or equal to 2"),
        ({"metric_choices": ["auc"]}, "'auroc'"),
        ({"dropout_keep": 0}, "greater than 0"),
        ({"text_processing_steps": ["tokenizer", "html_normalizer"]}, "stands before"),
    ],
)
def test_contradictions_are_said_with_the_specification_s_sentence(changes, sentence):
    assert sentence in message(**changes)


def test_several_rules_are_said_at_once():
    text = message(num_classes=3, input_tab_dim=9)
    assert "num_classes must be 2" in text
    assert "class_weights must match" in text
    assert "input_tab_dim" in text


def test_two_texts_are_in_their_order():
    pair = {"primary_text_name": "chat", "secondary_text_name": "events"}
    found = Hyperparameters(
        **BINARY | pair | {"text_name": None, "model_class": "trimodal_bert"}
    )
    assert found.texts == ("chat", "events")


@pytest.mark.parametrize("name", ["loss", *METRICS, "average_precision/fraud"])
def test_every_metric_of_val_may_stop_training(name):
    metric = f"val/{name}"
    found = Hyperparameters(**BINARY | {"early_stop_metric": metric})
    assert found.early_stop_metric == metric
