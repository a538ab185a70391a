"""The specification's ``hyperparameters.json`` and tabweave's typed parameter groups."""

from tabweave.sagemaker.hyperparameters.fields import Hyperparameters
from tabweave.sagemaker.hyperparameters.mapping import (
    from_parameters,
    notes,
    to_parameters,
    unsupported,
)
from tabweave.sagemaker.hyperparameters.places import PLACES
from tabweave.sagemaker.hyperparameters.reading import (
    parse_hyperparameters,
    read_hyperparameters,
)
from tabweave.sagemaker.hyperparameters.values import safe_cast

__all__ = [
    "PLACES",
    "Hyperparameters",
    "from_parameters",
    "notes",
    "parse_hyperparameters",
    "read_hyperparameters",
    "safe_cast",
    "to_parameters",
    "unsupported",
]
