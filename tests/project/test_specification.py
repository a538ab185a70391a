"""docs/specification.md names every part of the specification and where it lives here.

python tests/project/test_specification.py   prints the table of hyperparameters
"""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tabweave.configuration.loader import SWITCHES
from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.models.config import ARCHITECTURES
from tabweave.sagemaker.container import INPUTS, OUTPUTS
from tabweave.sagemaker.hyperparameters import PLACES, Hyperparameters
from tabweave.sagemaker.hyperparameters.places import (
    SPECIFIED_MODELS,
    Computed,
    Moved,
    Refused,
)
from tabweave.text.config import ALL_STEPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "specification.md"
NOT_YET, NO = "not yet", "no"
FUNCTIONS = (
    *("find_first_data_file", "load_data_module", "safe_cast"),
    *("load_parse_hyperparameters", "Config", "data_preprocess_pipeline"),
    *("build_categorical_label_pipelines", "CategoricalLabelProcessor"),
    *("MultiClassLabelProcessor", "DialogueSplitterProcessor"),
    *("HTMLNormalizerProcessor", "EmojiRemoverProcessor"),
    *("TextNormalizationProcessor", "DialogueChunkerProcessor"),
    *("BertTokenizeProcessor", "BSMDataset", "model_select", "model_train"),
    *("model_inference", "export_model_to_onnx", "compute_metrics"),
    *("roc_metric_plot", "pr_metric_plot", "load_and_preprocess_data"),
    *("build_model_and_optimizer", "evaluate_and_log_results", "main"),
    *("is_main_process", "get_rank", "log_once", "log_all_ranks"),
    *("save_checkpoint", "load_checkpoint", "log_memory_stats"),
)
FILES = (
    *("hyperparameters.json", "model.pth", "model_artifacts.pth", "model.onnx"),
    *("impute_dict.pkl", "impute_dict.json", "risk_table_map.pkl"),
    *("risk_table_map.json", "selected_features.json", "predict_results.pth"),
    *("tensorboard_eval/", "roc_curve.png", "pr_curve.png", "failure", "_SUCCESS"),
    *("epoch=N-step=M.ckpt", "last.ckpt", "best.ckpt"),
)
ERRORS = (
    "num_classes=3 does not match len(multiclass_categories)=2",
    "multiclass_categories must contain unique values",
    "For binary classification, num_classes must be 2",
    "multiclass_categories required",
    "class_weights must match num_classes",
    "No supported data file (.tsv, .csv, .parquet) found in",
    "Column 'text' not found in dataset",
    "CUDA out of memory",
    "Unknown model class: invalid_model",
    "Failed to export model to ONNX",
)
PATTERNS = (
    "Barrier synchronization",
    "Rank-aware execution",
    "Data distribution",
    "Gradient synchronization (DDP)",
    "FSDP memory optimization",
    "Checkpoint saving",
    "Error handling",
    "Logging",
    "Memory management",
)


def tables(text):
    """Heading -> rows of its table as {column: cell}."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("|")]
        cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]
        if cells:
            found[heading] = [dict(zip(cells[0], r, strict=True)) for r in cells[2:]]
    return found


@pytest.fixture(scope="module")
def page():
    return tables(PAGE.read_text(encoding="utf-8"))


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def hyperparameter_rows():
    """The rows of the table of hyperparameters, as the code says them."""
    for key, place in PLACES.items():
        field = Hyperparameters.model_fields[key]
        default = "required" if field.is_required() else f"`{field.get_default()!r}`"
        if isinstance(place, Moved | Computed):
            here = ", ".join(f"`{path}`" for path in place.parameters)
            note = "" if isinstance(place, Moved) else "worked out with other keys"
        elif isinstance(place, Refused):
            accepted = " or ".join(f"`{value!r}`" for value in place.accepted)
            here, note = NOT_YET, f"only {accepted}: {place.why}"
        else:
            here, note = NO, f"accepted: {place.why}"
        yield f"| `{key}` | {default} | {here} | {note} |"


def test_every_hyperparameter_is_there_as_the_code_says():
    text = PAGE.read_text(encoding="utf-8")
    missing = [row for row in hyperparameter_rows() if row not in text]
    assert missing == [], "print them: python tests/project/test_specification.py"


def test_the_table_of_hyperparameters_has_no_others(page):
    assert [row["hyperparameter"] for row in page["Hyperparameters"]] == [
        f"`{key}`" for key in PLACES
    ]


@pytest.mark.parametrize(
    ("heading", "column", "names"),
    [
        ("Functions and classes", "specification", FUNCTIONS),
        ("Architectures", "model_class", SPECIFIED_MODELS),
        ("Text processing steps", "step", ALL_STEPS),
        (
            "Inputs, outputs and environment variables",
            "name",
            (*INPUTS, *OUTPUTS, *SWITCHES),
        ),
        ("Files", "file", FILES),
        ("Errors", "sentence", ERRORS),
        ("Distributed patterns", "pattern", PATTERNS),
    ],
)
def test_every_part_of_the_specification_has_a_row(page, heading, column, names):
    rows = [row[column].strip("`") for row in page[heading]]
    assert rows == list(names)


def test_every_row_says_where_or_why_not(page):
    for heading, rows in page.items():
        for row in rows:
            if row.get("here") in (NO, NOT_YET):
                assert row["note"], (heading, row)
            elif "here" in row:
                assert quoted(row["here"]), (heading, row)


def test_every_name_exists(page, root, dataset_names):
    for heading, rows in page.items():
        for row in rows:
            for name in quoted(row.get("here", "")):
                assert exists(name, root, dataset_names), f"{heading}: {name}"


def exists(name, root, dataset_names):
    group, _, rest = name.partition(".")
    if group == "tabweave":
        return is_importable(name)
    if group in PARAMETER_TYPES and rest:
        return is_parameter(PARAMETER_TYPES[group], rest)
    if "{split}" in name:
        return name.replace("{split}", "test") in dataset_names
    return name in dataset_names or (root / name).exists()


def is_parameter(kind, path):
    """Whether a parameter class, or one inside it, has a field of this path."""
    for name in path.split("."):
        fields = getattr(kind, "model_fields", {})
        if name not in fields:
            return False
        kind = fields[name].annotation
    return True


def is_importable(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_the_check_of_names_can_fail(root, dataset_names):
    for name in (
        "tabweave.tables.loading.nothing",
        "training.nothing",
        "nothing",
        "{split}.x",
        "model.cnn.nothing",
        "training.lr.nothing",
    ):
        assert not exists(name, root, dataset_names)


def test_an_architecture_that_is_built_is_not_called_missing(page):
    for row in page["Architectures"]:
        built = row["model_class"].strip("`") in ARCHITECTURES
        assert (row["here"] == NOT_YET) == (not built), row


if __name__ == "__main__":
    head = ["| hyperparameter | default | here | note |", "|---|---|---|---|"]
    sys.stdout.write("\n".join([*head, *hyperparameter_rows()]) + "\n")
