import pytest

from tabweave.hyperparameters import PLACES, Hyperparameters
from tabweave.hyperparameters.places import (
    SPECIFIED_MODELS,
    Computed,
    Moved,
    Refused,
    Unused,
)
from tabweave.models.config import ARCHITECTURES
from tabweave.parameters import PARAMETER_TYPES

# These are not names of the specification.
OURS = {"tabular"}


def test_every_hyperparameter_has_one_place_in_the_order_of_the_table():
    assert set(PLACES) == set(Hyperparameters.model_fields)


@pytest.mark.parametrize("key", PLACES)
def test_parameters_exist(key):
    place = PLACES[key]
    if isinstance(place, Moved | Computed):
        assert place.parameters
        for path in place.parameters:
            group, _, name = path.partition(".")
            assert name in PARAMETER_TYPES[group].model_fields, path
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
        if isinstance(place, Refused | Unused):
            for group, kind in PARAMETER_TYPES.items():
                same = key in kind.model_fields and group != "data"
                assert not same, f"{key} may live at {group}.{key} now"


def test_architectures_are_those_of_the_specification():
    assert set(ARCHITECTURES) - OURS <= set(SPECIFIED_MODELS)
