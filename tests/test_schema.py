import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tabweave.schema import (
    DataConfig,
    DataSchema,
    default_positive,
    ordered_classes,
    typed,
)

COLUMNS = {"id": "i", "label": "y", "text": ("t",)}


def test_columns_come_in_the_order_of_their_roles():
    config = DataConfig(**COLUMNS, categorical=("c",), numeric=("n", "m"))
    assert config.columns == ("i", "y", "t", "c", "n", "m")
    assert config.features == ("t", "c", "n", "m")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": "i"}, r"columns \['i'\] have more than one role"),
        ({"text": ("t", "t")}, r"columns \['t'\] have more than one role"),
        ({"numeric": ("t", "y")}, r"columns \['t', 'y'\] have more than one role"),
        ({"text": ()}, "no feature column is named"),
        ({"classes": ("0",)}, "at least two distinct labels"),
        ({"classes": ("0", "0")}, "at least two distinct labels"),
        (
            {"classes": ("0", "1"), "positive_label": "yes"},
            r"positive_label 'yes' is not among classes \['0', '1'\]",
        ),
        ({"classes": (0, 1)}, "valid string"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_contradiction_is_refused_with_its_reason(more, message):
    with pytest.raises(ValidationError, match=message):
        DataConfig(**{**COLUMNS, **more})


def test_parameters_cannot_be_changed():
    config = DataConfig(**COLUMNS)
    with pytest.raises(ValidationError, match="frozen"):
        config.label = "other"


@pytest.mark.parametrize(
    ("classes", "positive", "task", "index"),
    [
        (("0", "1"), "1", "binary", 1),
        (("bad", "good"), "bad", "binary", 0),
        (("a", "b", "c"), "c", "multiclass", 2),
    ],
)
def test_a_schema_knows_its_task_and_reads_back(classes, positive, task, index):
    schema = DataSchema(**COLUMNS, classes=classes, positive_label=positive)
    assert (schema.task, schema.positive_index) == (task, index)
    assert DataSchema.model_validate_json(schema.model_dump_json()) == schema


def test_a_schema_has_two_classes_at_least():
    with pytest.raises(ValidationError, match="at least 2"):
        DataSchema(**COLUMNS, classes=("1",), positive_label="1")


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ({"10", "9", "1"}, ("1", "9", "10")),
        ({"1", "-1", "0"}, ("-1", "0", "1")),
        ({"01", "1", "2"}, ("01", "1", "2")),
        ({"b", "10", "9"}, ("10", "9", "b")),
        ({"1.0", "0.0"}, ("0.0", "1.0")),
        (set(), ()),
    ],
)
def test_whole_numbers_are_ordered_by_value_and_other_labels_as_text(labels, ordered):
    assert ordered_classes(labels) == ordered


@given(st.sets(st.text(alphabet="-0123456789ab", min_size=1, max_size=4)))
def test_the_order_of_classes_does_not_depend_on_the_order_of_rows(labels):
    ordered = ordered_classes(labels)
    assert ordered == ordered_classes(set(reversed(ordered)))
    assert set(ordered) == labels


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (("0", "1"), "1"),
        (("1", "2"), "1"),
        (("False", "True"), "True"),
        (("FALSE", "TRUE"), "TRUE"),
        (("bad", "good"), "good"),
        (("a", "b", "c"), "c"),
    ],
)
def test_the_positive_label_is_1_or_true_or_the_last(classes, positive):
    assert default_positive(classes) == positive


@typed
def scaled(values: list[int], config: DataConfig, name: str = "x") -> str:
    """Says what it was given."""
    return f"{name}: {config.id} {values}"


def test_a_typed_function_takes_mappings_and_groups_alike():
    given = {"id": "i", "label": "y", "text": ["t"]}
    assert (
        scaled([1], given, "a") == scaled([1], DataConfig(**given), "a") == "a: i [1]"
    )
    assert scaled.__doc__ == "Says what it was given."
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        scaled([1], {**given, "labl": "y"})
