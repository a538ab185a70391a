"""Few rows with the columns of conf/womens_clothing, and an encoder of one layer."""

import csv
import json
import random

import pytest

from tabweave.text import TextConfig
from tabweave.text.vocabulary import learn_vocabulary

ROWS = {"train": 128, "val": 40, "test": 64}
COLUMNS = [
    "row_id",
    "recommended",
    "title",
    "review_text",
    "division_name",
    "department_name",
    "class_name",
    "rating",
    "age",
    "positive_feedback_count",
]


def review(row, draw):
    """One row whose text tells its label."""
    word = "love" if row % 2 else "returned"
    words = draw.choices(["dress", "size", "colour", "fits", "soft", "long"], k=12)
    kinds = draw.choices(["Tops", "Bottoms", "Intimate"], k=3)
    numbers = [draw.randint(1, 5), draw.randint(18, 90), draw.randint(0, 20)]
    return [row, row % 2, f"{word} it", " ".join([word, *words]), *kinds, *numbers]


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A folder of splits with the columns of conf/womens_clothing."""
    folder, draw = tmp_path_factory.mktemp("reviews"), random.Random(3)
    for split, rows in ROWS.items():
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(review(row, draw) for row in range(rows))
    return folder


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """A folder of a BERT of one narrow layer, which takes texts of 256 tokens."""
    from transformers import BertConfig, BertModel

    texts = ["love returned it dress size colour fits soft long"] * 2
    tokenizer = learn_vocabulary(texts, TextConfig(vocabulary_size=100))
    folder = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=len(json.loads(tokenizer)["model"]["vocab"]),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=256,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return folder
