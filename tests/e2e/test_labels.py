"""Labels of val and test reach nothing that is fitted."""

import csv

import pytest

FITTED = ("04_feature/",)
OF_TRAIN = ("05_model_input/train_tokens.arrow", "05_model_input/train_features.arrow")
TRAINED = ("06_models/model/",)


def flip_labels(project, split):
    """Every label of a split becomes the other class."""
    path = project.data(f"01_raw/{split}/marketplace.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    place = header.index("is_abuse")
    for row in rows:
        row[place] = {"0": "1", "1": "0"}[row[place]]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def fitted(project, names):
    return {
        name: content
        for name, content in project.files().items()
        if name.startswith(names) and not name.endswith("provenance.json")
    }


@pytest.mark.parametrize(
    ("split", "names"),
    # Val picks the best checkpoint, so its labels may change the model; test's may not.
    [
        pytest.param("test", FITTED + OF_TRAIN + TRAINED, marks=pytest.mark.slow),
        ("val", FITTED + OF_TRAIN),
    ],
)
def test_flipping_every_label_of_a_split_changes_no_fitted_byte(copied, split, names):
    before = fitted(copied, names)
    assert any("risk_tables" in name for name in before)
    loaded = copied.data(f"02_intermediate/{split}.parquet").read_bytes()
    flip_labels(copied, split)
    stages = "prepare,train" if split == "test" else "prepare"
    copied.ran(f"--pipelines={stages}")
    assert copied.data(f"02_intermediate/{split}.parquet").read_bytes() != loaded
    assert fitted(copied, names) == before
