import pytest

from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.models.config import ARCHITECTURES
from tabweave.sagemaker.hyperparameters import PLACES, Hyperparameters
from tabweave.sagemaker.hyperparameters.places import (
    SPECIFIED_MODELS,
    Computed,
    Moved,
    Refused,
    Unused,
)

# These are not names of the specification.
OURS = {"tabular", "custom"}
# Their parameters act beside another one that no hyperparameter sets: model.pooling.
OUT_OF_REACH = {"reinit_pooler"}


def test_every_hyperparameter_has_one_place_in_the_order_of_the_table():
    assert set(PLACES) == set(Hyperparameters.model_fields)


@pytest.mark.parametrize("key", PLACES)
def test_parameters_exist(key):
    place = PLACES[key]
    if isinstance(place, Moved | Computed):
        assert place.parameters
        for path in place.parameters:
            group, *names = path.split(".")
            kind = PARAMETER_TYPES[group]
            for name in names:
                assert name in kind.model_fields, path
                kind = kind.model_fields[name].annotation
    else:
        assert len(place.why.split()) >= 5


@pytest.mark.parametrize(
    "key", [k for k, p in PLACES.items() if isinstance(p, Refused)]
)
def test_the_default_of_a_limited_key_passes(key):
    field = Hyperparameters.model_fields[key]
    if not field.is_required():
        assert field.get_default() in PLACES[key].accepted


def test_a_parameter_is_moved_to_by_one_key():
    places = [p for p in PLACES.values() if isinstance(p, Moved)]
    paths = [path for place in places for path in place.parameters]
    assert len(set(paths)) == len(paths)


def test_what_has_a_parameter_now_is_no_longer_refused():
    """A row goes stale when its group learns a parameter of the same name."""
    for key, place in PLACES.items():
        if isinstance(place, Refused | Unused) and key not in OUT_OF_REACH:
            for group, kind in PARAMETER_TYPES.items():
                same = key in kind.model_fields and group != "data"
                assert not same, f"{key} may live at {group}.{key} now"


def test_architectures_are_those_of_the_specification():
    assert set(ARCHITECTURES) - OURS == set(SPECIFIED_MODELS)
