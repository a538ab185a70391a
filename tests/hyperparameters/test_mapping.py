import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import ConfigError
from tabweave.evaluation.config import METRICS
from tabweave.hyperparameters import (
    PLACES,
    Hyperparameters,
    from_parameters,
    notes,
    to_parameters,
    unsupported,
)
from tabweave.hyperparameters.mapping import GROUPS
from tabweave.hyperparameters.places import SPECIFIED_MODELS, Moved, Refused
from tabweave.models.config import ARCHITECTURES
from tabweave.parameters import PARAMETER_TYPES, check_parameters
from tabweave.text.config import ALL_STEPS, MINIMAL_STEPS

EXAMPLES = json.loads(
    (Path(__file__).parents[1] / "specification_examples.json").read_text("utf-8")
)
BINARY = EXAMPLES["binary_bert"]
# Another value than the default, for every key that moves to a parameter as it is.
CHANGED = {
    "id_name": "row",
    "label_name": "target",
    "cat_field_list": ["shop", "marketplace"],
    "tab_field_list": ["price"],
    "train_filename": "a.csv",
    "val_filename": "b.csv",
    "test_filename": "c.csv",
    "model_class": "multimodal_bert",
    "tokenizer": "some/encoder",
    "hidden_common_dim": 7,
    "max_sen_len": 33,
    "chunk_trancate": True,
    "max_total_chunks": 2,
    "text_input_ids_key": "ids",
    "text_attention_mask_key": "mask",
    "smooth_factor": 0.25,
    "count_threshold": 9,
    "batch_size": 5,
    "max_epochs": 6,
    "lr": 0.125,
    "weight_decay": 0.5,
    "adam_epsilon": 0.001,
    "class_weights": [2.0, 3.0],
    "dropout_keep": 0.75,
    "gradient_clip_val": 4.0,
    "warmup_steps": 8,
    "run_scheduler": False,
    "early_stop_metric": "val/auroc",
    "early_stop_patience": 2,
    "val_check_interval": 0.5,
    "metric_choices": ["recall"],
    "seed": 3,
}


def parameters(**changes):
    return to_parameters(Hyperparameters(**BINARY | changes))


def at(groups, path):
    group, _, name = path.partition(".")
    return groups[group][name]


@pytest.mark.parametrize("key", [k for k, p in PLACES.items() if isinstance(p, Moved)])
def test_every_moved_value_arrives(key):
    found = parameters(**{"lr_decay": 0, key: CHANGED[key]})
    for path in PLACES[key].parameters:
        assert at(found, path) == CHANGED[key]


def test_groups_are_whole_and_valid():
    """Every parameter is there, so nothing of conf/base shines through."""
    found = parameters()
    check_parameters(found)
    assert list(found) == list(GROUPS)
    for group, values in found.items():
        assert GROUPS[group] is PARAMETER_TYPES[group]
        assert set(values) == set(GROUPS[group].model_fields)
    json.dumps(found)


def test_labels_are_text_in_their_order():
    example = EXAMPLES["text_only_bert"]
    found = to_parameters(Hyperparameters(**example))["data"]
    assert found["classes"] == example["multiclass_categories"]
    assert found["num_classes"] == 5
    assert parameters(multiclass_categories=[1, 0])["data"]["classes"] == ["1", "0"]
    assert parameters()["data"]["classes"] is None
    assert parameters()["data"]["num_classes"] == 2


def test_no_class_weights_by_default():
    changes = {k: v for k, v in BINARY.items() if k != "class_weights"}
    found = to_parameters(Hyperparameters(**changes))
    assert found["training"]["class_weights"] is None


@pytest.mark.parametrize(("fp16", "precision"), [(True, "auto"), (False, "32-true")])
def test_mixed_precision_is_asked_for_by_fp16(fp16, precision):
    assert parameters(fp16=fp16)["training"]["precision"] == precision


def test_one_text_has_all_steps_and_a_second_the_minimal_ones():
    from tabweave.schema import DataSchema
    from tabweave.text.config import TextConfig, resolve_fields

    def steps(found):
        schema = DataSchema(
            id="i",
            label="y",
            text=found["data"]["text"],
            classes=("0", "1"),
            positive_label="1",
        )
        fields = resolve_fields(TextConfig(**found["text"]), schema)
        return {field.name: field.steps for field in fields}

    assert steps(parameters()) == {"dialogue_text": ALL_STEPS}
    own = ["text_normalizer", "tokenizer"]
    assert steps(parameters(text_processing_steps=own, max_total_chunks=1)) == {
        "dialogue_text": tuple(own)
    }
    two = {
        "text_name": None,
        "primary_text_name": "chat",
        "secondary_text_name": "events",
        "model_class": "trimodal_bert",
    }
    assert steps(parameters(**two)) == {"chat": ALL_STEPS, "events": MINIMAL_STEPS}
    own = ["dialogue_splitter", "dialogue_chunker", "tokenizer"]
    found = steps(parameters(**two, secondary_text_processing_steps=own))
    assert found == {"chat": ALL_STEPS, "events": tuple(own)}


LIMITED = {
    "imputation_dict": {"price": 1.0},
    "risk_tables": {"marketplace": {"bins": {"US": 0.5}, "default_bin": 0.1}},
    "optimizer": "SGD",
    "momentum": 0.5,
    "lr_decay": 0.2,
    "accumulate_grad_batches": 4,
    "use_gradient_checkpointing": True,
    "kernel_size": [3],
    "num_layers": 3,
    "num_channels": [128, 128],
    "is_embeddings_trainable": False,
    "reinit_layers": 4,
    "load_ckpt": True,
}


@pytest.mark.parametrize(
    "key", [key for key, place in PLACES.items() if isinstance(place, Refused)]
)
def test_what_nothing_can_act_on_is_refused_by_name(key):
    changes = {key: LIMITED[key]}
    with pytest.raises(ConfigError) as caught:
        parameters(**changes)
    text = str(caught.value)
    assert text.startswith(f"{key} is ")
    assert "not supported" in text
    assert PLACES[key].why in text


def test_all_defaults_pass_when_they_are_written_out():
    found = Hyperparameters(**BINARY).model_dump(mode="json")
    assert to_parameters(Hyperparameters(**found)) == parameters()


def test_the_decay_has_an_effect_without_a_scheduler_only():
    with pytest.raises(
        ConfigError, match=r"lr_decay is 0\.05 and run_scheduler is false"
    ):
        parameters(run_scheduler=False)
    found = parameters(run_scheduler=False, lr_decay=0)
    assert found["training"]["run_scheduler"] is False


@pytest.mark.parametrize("name", SPECIFIED_MODELS)
def test_models_of_the_specification_are_built_or_refused(name):
    two = {"primary_text_name": "a", "secondary_text_name": "b", "text_name": None}
    texts = two if name.startswith("trimodal") else {}
    found = unsupported(Hyperparameters(**BINARY | texts | {"model_class": name}))
    if name in ARCHITECTURES:
        assert found == []
    else:
        assert found[0].startswith(f"model_class {name!r} is not supported")


def test_an_unknown_model_is_no_model():
    with pytest.raises(ConfigError) as caught:
        parameters(model_class="multimodal_brt")
    text = str(caught.value)
    assert text.startswith("Unknown model class: multimodal_brt")
    assert "'multimodal_bert'?" in text
    assert isinstance(caught.value, ValueError)


def test_groups_say_which_keys_do_not_fit():
    with pytest.raises(ConfigError, match="more than one role"):
        parameters(label_name="price")
    with pytest.raises(ConfigError, match=r"^training: val_check_interval"):
        parameters(val_check_interval=1.5)


def test_notes_say_what_a_user_may_not_expect():
    assert any("leaves out ['marketplace']" in note for note in notes_of())
    found = notes_of(model_class="bert")
    assert any("'price'] do not reach it" in note for note in found)
    complete = [*BINARY["full_field_list"], "marketplace"]
    assert notes_of(full_field_list=complete, reinit_layers=0) == []
    assert notes_of(full_field_list=complete, tokenizer="scratch") == []
    (note,) = notes_of(full_field_list=complete)
    assert note.startswith("reinit_layers is 2, but ")


def notes_of(**changes):
    return notes(Hyperparameters(**BINARY | changes))


@st.composite
def supported(draw):
    """Hyperparameters that pass, with values all over the place."""
    number = draw(st.integers(2, 4))
    names = draw(
        st.lists(st.text("abcdef", min_size=1), min_size=8, max_size=8, unique=True)
    )
    two = draw(st.booleans())
    labels = [f"label {i}" for i in range(number)]
    texts = (
        {"primary_text_name": names[2], "secondary_text_name": names[3]}
        if two
        else {"text_name": names[2]}
    )
    rate = st.floats(1e-7, 1)
    whole = st.integers(1, 1000)
    return {
        "id_name": names[0],
        "label_name": names[1],
        **texts,
        "full_field_list": names,
        "cat_field_list": names[4 : draw(st.integers(4, 6))],
        "tab_field_list": names[6 : draw(st.integers(6, 8))],
        "model_class": "trimodal_bert"
        if two
        else draw(st.sampled_from(["bert", "multimodal_bert"])),
        "tokenizer": draw(st.sampled_from(["scratch", "bert-base-uncased"])),
        "num_classes": number,
        "is_binary": number == 2,
        "multiclass_categories": labels if number > 2 or draw(st.booleans()) else None,
        "hidden_common_dim": draw(whole),
        "max_sen_len": draw(st.integers(3, 512)),
        "chunk_trancate": draw(st.booleans()),
        "batch_size": draw(whole),
        "max_epochs": draw(whole),
        "lr": draw(rate),
        "optimizer": "AdamW",
        "weight_decay": draw(rate),
        "class_weights": draw(st.none() | st.just([1.5] * number)),
        "dropout_keep": draw(rate),
        "smooth_factor": draw(rate),
        "early_stop_metric": draw(st.sampled_from(["val/loss", "val/auroc"])),
        "val_check_interval": draw(rate | whole.map(float)),
        "metric_choices": draw(
            st.lists(st.sampled_from(METRICS), min_size=1, unique=True)
        ),
        "fp16": draw(st.booleans()),
        "seed": draw(whole),
    }


@given(supported())
def test_there_and_back_again(values):
    first = Hyperparameters(**values)
    groups = to_parameters(first)
    flat = json.loads(json.dumps(from_parameters(groups)))
    second = Hyperparameters(**flat)
    assert to_parameters(second) == groups
    left = {"full_field_list", "multiclass_categories"}
    steps = {key for key in PLACES if key.endswith("_steps")}
    for key in set(values) - left - steps:
        assert getattr(second, key) == getattr(first, key), key


def test_a_rate_that_is_left_to_the_code_is_written_down():
    groups = parameters(tokenizer="scratch")
    groups["training"]["lr"] = None
    assert from_parameters(groups)["lr"] == 5e-4


@pytest.mark.parametrize(
    ("group", "changes", "part"),
    [
        ("data", {"text": ["a", "b", "c"]}, "at most two texts"),
        ("data", {"classes": None, "num_classes": None}, "number of classes"),
    ],
)
def test_what_hyperparameters_cannot_say_is_an_error(group, changes, part):
    groups = parameters()
    groups[group] |= changes
    with pytest.raises(ConfigError, match=part):
        from_parameters(groups)


def test_reading_and_mapping_import_no_torch(tmp_path):
    path = tmp_path / "h.json"
    path.write_text(json.dumps(BINARY), encoding="utf-8")
    code = (
        "import sys; from tabweave.hyperparameters import *\n"
        "from_parameters(to_parameters(read_hyperparameters(sys.argv[1])))\n"
        "print([m for m in ('torch', 'lightning', 'kedro') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
