import math
from typing import Annotated, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.configuration.overrides import parse_overrides
from tabweave.configuration.parameters import PARAMETER_TYPES, check_parameters
from tabweave.errors import ConfigError, readable
from tabweave.schema import Parameters

DATA = {"id": "i", "label": "y", "text": ["t"]}


def faults(parameters):
    """Every line of the error, or nothing."""
    try:
        check_parameters(parameters)
    except ConfigError as error:
        title, *lines, way_out = str(error).splitlines()
        assert title == "The parameters are not valid:"
        assert way_out == (
            "Parameters come from conf/base, conf/<env> and --params; the later wins."
        )
        return [line.removeprefix("  - ") for line in lines]
    return []


@pytest.mark.parametrize("name", [n for n in PARAMETER_TYPES if n != "data"])
def test_every_group_but_the_columns_has_a_default_for_everything(name):
    assert faults({name: {}}) == []


def test_lists_of_a_file_are_right_and_the_data_folder_is_no_group():
    assert (
        faults({"data": DATA, "data_dir": "data/01_raw", "text": {"fields": []}}) == []
    )


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        # A group that is not one.
        (
            {"txt": {}},
            "txt: unknown group. Did you mean 'text'? Known: data, text, tab",
        ),
        ({"zzz": 1}, "zzz: unknown group. Known: data, text, tabular, model, training"),
        ({1: {}}, "1: unknown group. Known: data"),
        (
            {"text": None},
            "text: must hold keys and values, but is None; to set one key",
        ),
        (
            {"text": "scratch"},
            "text: must hold keys and values, but is 'scratch'; to se",
        ),
        (
            {"tabular": []},
            "tabular: must hold keys and values, but is []; to set one k",
        ),
        # A key that is not one.
        (
            {"training": {"batchsize": 1}},
            "training.batchsize: unknown key. Did you mean 'batch_size'? Known: ",
        ),
        (
            {"model": {"scratch": {"hidden": 3}}},
            "model.scratch.hidden: unknown key. Did you mean 'hidden_size'? Known: hidd",
        ),
        (
            {"text": {"fields": [{"name": "a"}, {"name": "b", "encodr": "x"}]}},
            "text.fields.1.encodr: unknown key. Did you mean 'encoder'? Known: name, ",
        ),
        ({"data": {1: 2}}, "data: keys must be text, but are [1]"),
        (
            {"model": {"scratch": {1: 2}}},
            "model.scratch.1: keys should be strings, got ",
        ),
        # A value that cannot be.
        (
            {"text": {"max_sen_len": "many"}},
            "text.max_sen_len: input should be a valid integer, got 'many'",
        ),
        (
            {"training": {"batch_size": 0}},
            "training.batch_size: input should be greater than 0, got 0",
        ),
        (
            {"export": {"parity_batch_sizes": [1, 0]}},
            "export.parity_batch_sizes.1: input should be greater than 0, got 0",
        ),
        (
            {"tabular": {"imputation": "avg"}},
            "tabular.imputation: input should be 'mean',",
        ),
        ({"data": {"label": "y"}}, "data.id: field required, got {'label': 'y'}"),
        (
            {"data": {**DATA, "text": "t"}},
            "data.text: input should be a list, such as data.text=[t], got 't'",
        ),
        (
            {"model": {"cnn": {"kernel_size": 3}}},
            "model.cnn.kernel_size: input should be a list, such as model.cnn.kernel",
        ),
        (
            {"data": {**DATA, "text": {"a": 1}}},
            "data.text: input should be a list, got {'a': 1}",
        ),
        (
            {"training": {"class_weights": "balancd"}},
            "training.class_weights: input should be a list or 'balanced', got 'balancd'",
        ),
        (
            {"export": {"parity_batch_sizes": []}},
            "export.parity_batch_sizes: input should be a list with 1 or more entries, ",
        ),
        (
            {"data": {**DATA, "classes": [0, "1"]}},
            "data.classes.0: input should be a valid string, got 0",
        ),
        # A number where text is wanted.
        (
            {"data": {**DATA, "positive_label": 1}},
            "data.positive_label: input should be a valid string, got 1. Write it in "
            "quotes, as the data has it: '1'; in --params: \"data.positive_label='1'\"",
        ),
        (
            {"data": {**DATA, "classes": ["a", 0.5]}},
            "data.classes.1: input should be a valid string, got 0.5. Write it in quotes, "
            "as the data has it: '0.5'; in --params: \"data.classes=['a', '0.5']\"",
        ),
        (
            {"data": {**DATA, "null_values": ["", *["x" * 40] * 9, True]}},
            "data.null_values.10: input should be a valid string, got True. Write it in "
            "quotes, as the data has it: 'true'",
        ),
        ({"data": {**DATA, "label": {"a": 1}}}, "data.label: input should be a valid "),
        # Values that contradict one another.
        (
            {"data": {**DATA, "label": "i"}},
            "data.id, data.label: columns ['i'] have more than one role; give each ",
        ),
        (
            {"model": {"model_class": "multimodal_brt"}},
            "model.model_class: unknown model class: multimodal_brt. Did you mean 'multim",
        ),
        (
            {"model": {"scratch": {"hidden_size": 130}}},
            "model.scratch.num_heads, model.scratch.hidden_size: num_heads 4 must divide",
        ),
        (
            {"text": {"steps": ["tokenizer", "emoji_remover"]}},
            "text.steps: steps ['tokenizer', 'emoji_remover']: tokenizer stands before ",
        ),
    ],
)
def test_a_fault_is_named_by_the_key_that_a_user_can_mend(parameters, line):
    found = faults(parameters)
    assert len(found) == 1
    assert found[0].startswith(line)


def test_a_line_that_a_fault_gives_is_taken():
    (line,) = faults({"data": {**DATA, "classes": ["it's", 10]}})
    given = line.split('in --params: "')[1][:-1]
    data = parse_overrides(given)["data"]
    assert data == {"classes": ["it's", "10"]}
    assert not faults({"data": {**DATA, **data}})


def test_all_faults_of_all_groups_come_at_once():
    wrong = {
        "txt": {},
        "data": {"id": 1, "labl": "y"},
        "training": {"batch_size": "x", "lr": -1},
    }
    assert [line.split(":")[0] for line in faults(wrong)] == [
        "txt",
        "data.id",
        "data.label",
        "data.labl",
        "training.batch_size",
        "training.lr",
    ]


def test_a_long_value_is_cut():
    (line,) = faults({"training": {"batch_size": "x" * 10_000}})
    assert len(line) < 250


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.integers() | st.sampled_from(["name", "fields"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
KEYS = sorted({key for kind in PARAMETER_TYPES.values() for key in kind.model_fields})


@given(
    parameters=st.dictionaries(
        st.sampled_from(sorted(PARAMETER_TYPES)) | st.text(max_size=5) | st.integers(),
        VALUES | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_file_holds_it_is_right_or_a_fault_of_ours(parameters):
    unknown = set(parameters) - set(PARAMETER_TYPES)
    try:
        check_parameters(parameters)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
    assert bool(message) >= bool(unknown)
    assert all(
        f"  - {readable(str(name))}: unknown group." in message for name in unknown
    )


@pytest.mark.parametrize(
    "metric", ["val/loss", "val/f1_score", "val/average_precision/some class"]
)
def test_a_metric_that_a_validation_logs_may_decide(metric):
    check_parameters({"training": {"early_stop_metric": metric}})


def test_a_metric_that_nobody_logs_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"'val/f1'.* Did you mean 'val/f1_score'"):
        check_parameters({"training": {"early_stop_metric": "val/f1"}})


@pytest.mark.parametrize("group", ["training", "evaluation"])
def test_a_seed_that_numpy_cannot_take_is_refused(group):
    with pytest.raises(ConfigError, match=rf"{group}\.seed: .*4294967296"):
        check_parameters({group: {"seed": 2**32}})


ADDRESS = "s3://bucket/key"
PATH_KEYS = [
    *("data.train_filename", "data.val_filename", "data.test_filename"),
    *("split.source", "split.output", "text.encoder"),
    *("score.bundle", "score.input", "score.output", "score.rejects"),
    *("data_dir", "checkpoint_dir", "model_artifacts_input", "layers.08_reporting"),
]


@pytest.mark.parametrize("key", PATH_KEYS)
def test_an_address_is_no_path(key):
    group, _, name = key.partition(".")
    given = DATA if group == "data" else {}
    (line,) = faults({group: {**given, name: ADDRESS} if name else ADDRESS})
    assert line.startswith(f"{key}: '{ADDRESS}' is an address, but only files and fold")


def test_an_address_as_the_encoder_of_one_field():
    (line,) = faults({"text": {"fields": [{"name": "a", "encoder": "gs://b/x"}]}})
    assert line.startswith("text.fields.0.encoder: 'gs://b/x' is an address")


def test_all_addresses_come_with_all_other_faults():
    named = {"data_dir": ADDRESS, "layers": {"06_models": ADDRESS}, "text": {"x": 1}}
    assert len(faults(named)) == 3


def test_a_name_that_looks_like_an_address_is_a_name():
    assert (
        faults({"data": {**DATA, "label": "http://label", "classes": ["a://b", "c"]}})
        == []
    )


LONG = "x" * 100_000
HOSTILE = [
    *(True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, -0.0, 1e308),
    *(float("inf"), float("-inf"), float("nan"), None, "", " ", "0", "true", "yes"),
    *("\0", "a\nb", "\ud800", LONG, "ä" * 300, "../..", "null", "${x}"),
    *([], [[]], [True], [0], [-1], [1.5], [""], [None], [LONG], ["a", "a"], [10**400]),
    *({}, {"": 1}, {"a": True}, {LONG: LONG}, {"a": {"b": {"c": []}}}, {"a\nb": 2}),
]


def places(kind, path):
    """Every field of a group, nested ones too: its path and its annotation."""
    for name, field in kind.model_fields.items():
        yield (*path, name), field.annotation
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Parameters):
                yield from places(inner, (*path, name))


PLACES = [
    place for group, kind in PARAMETER_TYPES.items() for place in places(kind, (group,))
]


def scalars(annotation):
    """The plain types that a value of this annotation is made of."""
    if get_origin(annotation) is Annotated:
        return scalars(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return {type(choice) for choice in get_args(annotation)}
    inner = [one for one in get_args(annotation) if one is not ...]
    return set().union(*map(scalars, inner)) if inner else {annotation}


def leaves(value):
    if not isinstance(value, dict | list):
        return [value]
    inner = value.values() if isinstance(value, dict) else value
    return [leaf for each in inner for leaf in leaves(each)]


def cannot_be_meant(leaf, kinds):
    """Whether no field of these types can mean this value."""
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return True
    if type(leaf) is int:
        return not kinds & {int, float} or (leaf >= 2**64 and float not in kinds)
    return type(leaf) in (bool, str) and type(leaf) not in kinds


def group_with(path, value):
    """The values of a group in which the parameter at the path has this value."""
    group, name, *inner = path
    for part in reversed(inner):
        value = {part: value}
    if path[:2] == ("text", "fields") and inner:
        value = [{"name": "t", **value}]
    return {**(DATA if group == "data" else {}), name: value}


def as_kept(value):
    """As a frozen group keeps a value: lists as tuples."""
    if isinstance(value, dict):
        return {key: as_kept(inner) for key, inner in value.items()}
    return tuple(map(as_kept, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
def test_a_hostile_value_is_kept_as_it_is_or_refused_by_its_whole_name(value):
    """None becomes another value, and no message fills a screen."""
    for path, annotation in PLACES:
        group = group_with(path, value)
        found = faults({path[0]: group})
        where = ".".join(path).replace("text.fields.", "text.fields.0.")
        named = [line for line in found if line.startswith(where)]
        assert len("".join(found)) < 4000, path
        if any(cannot_be_meant(leaf, scalars(annotation)) for leaf in leaves(value)):
            assert named, (path, found)
        if not found:
            kept = PARAMETER_TYPES[path[0]](**group)
            for part in path[1:]:
                kept = kept[0] if isinstance(kept, tuple) else kept
                kept = getattr(kept, part)
            assert isinstance(kept, Parameters) or kept == as_kept(value), path


NAMES = [
    ("data", "id"), ("data", "label"), ("data", "group"), ("data", "train_filename"),
    ("split", "source"), ("split", "output"), ("split", "time_column"),
    ("score", "bundle"), ("score", "input"), ("score", "output"), ("score", "rejects"),
    ("tabular", "group"), ("text", "encoder"), ("export", "text_input_ids_key"),
]  # fmt: skip


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_an_empty_name_is_refused(group, name):
    (line,) = faults({group: {**(DATA if group == "data" else {}), name: ""}})
    assert line.startswith(f"{group}.{name}: string should have at least 1 character")


@pytest.mark.parametrize("name", ["text", "categorical", "numeric"])
def test_an_empty_name_in_a_list_of_columns_is_refused(name):
    (line,) = faults({"data": {**DATA, name: ["a", ""]}})
    assert line.startswith(f"data.{name}.1: string should have at least 1 character")


def test_an_empty_list_that_leaves_nothing_to_compare_is_refused():
    (line,) = faults({"export": {"parity_batch_sizes": []}})
    assert line.startswith("export.parity_batch_sizes: input should be a list with")


@pytest.mark.parametrize("value", [None, "", 5, True, [], {}, "a\0b", LONG + "\n"])
@pytest.mark.parametrize(
    "name", ["data_dir", "checkpoint_dir", "model_artifacts_input"]
)
def test_a_folder_that_no_path_can_name_is_refused(name, value):
    (line,) = faults({name: value})
    assert line.startswith(f"{name}: must be the path of a folder, but is ")
    assert len(line) < 200


@pytest.mark.parametrize(("written", "read"), [(1e3, 1000), (2.0, 2), (7, 7)])
def test_a_whole_number_may_be_written_as_a_float(written, read):
    config = PARAMETER_TYPES["training"](max_steps=written)
    assert (config.max_steps, type(config.max_steps)) == (read, int)


def test_a_rule_between_parameters_names_them_all():
    (line,) = faults({"training": {"max_tokens_per_batch": 9, "batching": "padded"}})
    assert line.startswith(
        "training.max_tokens_per_batch, training.batching: max_tokens_per_batch 9 counts"
    )
