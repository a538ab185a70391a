import subprocess
import sys

import pytest
from pydantic import ValidationError

from tabweave.export.config import ExportConfig

NO_TORCH = """
import sys, tabweave.export.config
heavy = {"torch", "onnx", "onnxruntime"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parity_rows", 0),
        ("parity_batch_sizes", (1, 0)),
        ("parity_tolerance", 0),
        ("opset", 20),
    ],
)
def test_an_impossible_value_is_refused_by_its_name(field, value):
    with pytest.raises(ValidationError, match=field):
        ExportConfig(**{field: value})


@pytest.mark.parametrize(
    "names",
    [
        {"text_input_ids_key": "attention_mask"},
        {"text_input_ids_key": "tab"},
        {"text_attention_mask_key": "probabilities"},
        {"text_attention_mask_key": ""},
    ],
)
def test_names_that_collide_or_are_empty_are_refused(names):
    with pytest.raises(ValidationError, match=r"two different names|at least 1"):
        ExportConfig(**names)


def test_own_names_are_taken():
    config = ExportConfig(text_input_ids_key="ids", text_attention_mask_key="mask")
    assert (config.text_input_ids_key, config.text_attention_mask_key) == (
        *("ids", "mask"),
    )


def test_reading_the_configuration_needs_no_torch():
    command = [sys.executable, "-c", NO_TORCH]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
