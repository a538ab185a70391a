import json
from pathlib import Path

import pytest

from tabweave.errors import ConfigError
from tabweave.sagemaker.hyperparameters import Hyperparameters, read_hyperparameters
from tabweave.sagemaker.hyperparameters.reading import LARGEST_FILE

EXAMPLES = json.loads(
    (Path(__file__).parents[2] / "specification_examples.json").read_text("utf-8")
)
BINARY = EXAMPLES["binary_bert"]


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "hyperparameters.json"
        if not isinstance(content, bytes):
            content = (
                content if isinstance(content, str) else json.dumps(content)
            ).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        return path

    return written


@pytest.fixture
def refusal(write):
    def message(content):
        path = write(content)
        with pytest.raises(ConfigError) as caught:
            read_hyperparameters(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return message


@pytest.mark.parametrize("name", EXAMPLES)
def test_values_as_strings_are_the_same_values(name, write):
    """Some platforms hand over every hyperparameter as a string."""
    values = EXAMPLES[name]
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    literals = {k: v if isinstance(v, str) else repr(v) for k, v in values.items()}
    quoted = {k: json.dumps(v) for k, v in values.items()}
    expected = Hyperparameters(**values)
    for form in (values, texts, literals, quoted):
        assert read_hyperparameters(write(form)) == expected


def test_a_byte_order_mark_is_no_part_of_the_file(write):
    content = b"\xef\xbb\xbf" + json.dumps(BINARY).encode()
    assert read_hyperparameters(write(content)) == Hyperparameters(**BINARY)


def test_an_unknown_key_is_an_error_with_a_suggestion(refusal):
    text = refusal(BINARY | {"batch_sze": 32})
    assert text.startswith("'batch_sze' is not a hyperparameter.")
    assert "Did you mean 'batch_size'?" in text


def test_a_missing_key_is_named(refusal):
    text = refusal({k: v for k, v in BINARY.items() if k != "lr"})
    assert text.startswith("lr is missing")


def test_a_wrong_value_says_what_was_got_and_is_allowed(refusal):
    text = refusal(BINARY | {"batch_size": "many"})
    assert text.startswith("batch_size: got 'many', allowed: a whole number")


def test_everything_wrong_is_said_at_once(refusal):
    text = refusal(BINARY | {"batch_size": 0, "fp16": 1, "max_epoch": 2, "lr": None})
    for part in ("batch_size: got 0", "fp16: got 1", "'max_epochs'?", "lr: got None"):
        assert part in text


def test_one_fault_begins_with_the_specification_s_sentence(refusal):
    changes = {"is_binary": False, "multiclass_categories": ["a", "b", "c"]}
    text = refusal(BINARY | changes)
    assert text.startswith("num_classes=2 does not match len(multiclass_categories)=3")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (json.dumps(BINARY)[:-1] + ', "lr": 1}', "'lr' appears twice"),
        (json.dumps(BINARY).replace("2e-05", "NaN"), "NaN"),
        (json.dumps(BINARY).replace("2e-05", "1e999"), "too large"),
        ("[" * 500_000, "levels"),
        ("[1]", "must be one JSON object"),
        ("", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b" " * LARGEST_FILE + b"{}", f"larger than {LARGEST_FILE} bytes"),
    ],
)
def test_files_that_are_something_else_are_refused(content, part, refusal):
    assert part in refusal(content)


def test_the_largest_file_is_read(write):
    content = json.dumps(BINARY).encode()
    padded = content + b" " * (LARGEST_FILE - len(content))
    assert read_hyperparameters(write(padded)).batch_size == BINARY["batch_size"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_hyperparameters(tmp_path / "nothing.json")
    with pytest.raises(ConfigError, match="directory"):
        read_hyperparameters(tmp_path)
