import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.configuration.parameters import PARAMETER_TYPES, check_parameters
from tabweave.errors import ConfigError
from tabweave.models.config import ARCHITECTURES
from tabweave.sagemaker.hyperparameters import (
    PLACES,
    Hyperparameters,
    from_parameters,
    notes,
    to_parameters,
    unsupported,
)
from tabweave.sagemaker.hyperparameters.mapping import GROUPS
from tabweave.sagemaker.hyperparameters.places import SPECIFIED_MODELS, Moved, Refused
from tabweave.statistics.classification import METRICS
from tabweave.text.config import ALL_STEPS, MINIMAL_STEPS

EXAMPLES = json.loads(
    (Path(__file__).parents[2] / "specification_examples.json").read_text("utf-8")
)
BINARY = EXAMPLES["binary_bert"]
ALL_COLUMNS = [*BINARY["full_field_list"], "marketplace"]
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
    "optimizer": "SGD",
    "momentum": 0.5,
    "accumulate_grad_batches": 4,
    "is_embeddings_trainable": False,
    "early_stop_metric": "val/auroc",
    "early_stop_patience": 2,
    "val_check_interval": 0.5,
    "metric_choices": ["recall"],
    "seed": 3,
}


def parameters(**changes):
    return to_parameters(Hyperparameters(**BINARY | changes))


def at(groups, path):
    for name in path.split("."):
        groups = groups[name]
    return groups


@pytest.mark.parametrize("key", [k for k, p in PLACES.items() if isinstance(p, Moved)])
def test_every_moved_value_arrives(key):
    found = parameters(**{key: CHANGED[key]})
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
    found = Hyperparameters(**BINARY).model_dump(mode="json", exclude={"reinit_layers"})
    assert to_parameters(Hyperparameters(**found)) == parameters()


def test_layers_start_anew_only_when_that_is_written():
    assert parameters()["model"]["reinit_layers"] == 0
    assert parameters(reinit_layers=3)["model"]["reinit_layers"] == 3
    said = notes(Hyperparameters(**BINARY))
    assert any("reinit_layers is not set" in note for note in said)
    said = notes(Hyperparameters(**BINARY | {"reinit_layers": 0}))
    assert not any("reinit_layers" in note for note in said)


@pytest.mark.parametrize("tokenizer", ["scratch", "some/encoder"])
def test_a_pooler_that_is_not_there_does_not_start_anew(tokenizer):
    """Vectors are means of token states; a user who asks for a new pooler is told."""
    plain = BINARY | {"tokenizer": tokenizer, "reinit_layers": 0}
    before = notes(Hyperparameters(**plain))
    for asked in (True, False):
        written = Hyperparameters(**plain | {"reinit_pooler": asked})
        assert to_parameters(written) == to_parameters(Hyperparameters(**plain))
        assert to_parameters(written)["model"]["reinit_pooler"] is False
        said = [note for note in notes(written) if note not in before]
        assert [note[:36] for note in said] == (
            ["reinit_pooler is true, which has no "] if asked else []
        )


def test_the_decay_belongs_to_a_rate_without_scheduler():
    assert parameters()["training"]["lr_decay"] is None
    assert parameters(run_scheduler=False)["training"]["lr_decay"] == 0.05
    found = parameters(run_scheduler=False, lr_decay=0.2)
    assert found["training"]["lr_decay"] == 0.2
    assert parameters(lr_decay=0.05) == parameters()
    with pytest.raises(ConfigError, match=r"lr_decay 0\.2 is for a rate without"):
        parameters(lr_decay=0.2)


def test_a_text_encoder_gets_the_sizes_of_its_own_kind():
    sizes = {"num_layers": 3, "num_channels": [8, 9, 10], "kernel_size": [2]}
    cnn = parameters(model_class="cnn", **sizes)["model"]
    assert cnn["cnn"] == sizes
    lstm = parameters(model_class="lstm", num_layers=3, hidden_common_dim=24)["model"]
    assert lstm["lstm"] == {"num_layers": 3, "hidden_size": 24}
    bert = parameters(model_class="multimodal_bert", use_gradient_checkpointing=True)
    assert bert["model"]["use_gradient_checkpointing"] is True
    with pytest.raises(ConfigError, match=r"num_channels.* must have one number for"):
        parameters(model_class="cnn", num_channels=[8, 9, 10])


def test_sizes_of_another_kind_are_noted():
    written = BINARY | {"model_class": "cnn", "reinit_layers": 2}
    found = notes(Hyperparameters(**written))
    assert "model_class 'cnn' does not use ['reinit_layers']." in found
    assert to_parameters(Hyperparameters(**written))["model"]["reinit_layers"] == 0
    written |= {"model_class": "tabular", "reinit_pooler": True, "num_layers": 2}
    (found,) = notes(Hyperparameters(**written | {"full_field_list": ALL_COLUMNS}))
    idle = "['num_layers', 'reinit_layers', 'reinit_pooler']"
    assert found == f"model_class 'tabular' does not use {idle}."


@pytest.mark.parametrize("name", SPECIFIED_MODELS)
def test_models_of_the_specification_are_built(name):
    two = {"primary_text_name": "a", "secondary_text_name": "b", "text_name": None}
    texts = two if name.startswith("trimodal") else {}
    assert unsupported(Hyperparameters(**BINARY | texts | {"model_class": name})) == []
    assert name in ARCHITECTURES


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
    with pytest.raises(ConfigError, match=r"^val_check_interval: val_check_interval"):
        parameters(val_check_interval=1.5)


def test_notes_say_what_a_user_may_not_expect():
    assert any("leaves out ['marketplace']" in note for note in notes_of())
    found = notes_of(model_class="bert")
    assert any("'price'] do not reach it" in note for note in found)
    complete = ALL_COLUMNS
    assert notes_of(full_field_list=complete, reinit_layers=0) == []
    assert notes_of(full_field_list=complete, tokenizer="scratch") == []
    (note,) = notes_of(full_field_list=complete)
    assert note.startswith("reinit_layers is not set, so ")


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
        "model_class": draw(
            st.sampled_from([n for n in SPECIFIED_MODELS if ("tri" in n) == two])
        ),
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
        "optimizer": draw(st.sampled_from(["SGD", "Adam", "AdamW"])),
        "momentum": draw(st.floats(0, 0.99)),
        "num_layers": 2,
        "num_channels": draw(st.lists(whole, min_size=2, max_size=2)),
        "kernel_size": draw(st.lists(whole, min_size=1, max_size=3)),
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
    # Sizes of a text encoder that the architecture does not have are not kept.
    sizes = {"num_layers", "num_channels", "kernel_size"}
    for key in set(values) - left - steps - sizes:
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
        "import sys; from tabweave.sagemaker.hyperparameters import *\n"
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
