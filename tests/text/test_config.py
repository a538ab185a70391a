from itertools import combinations

import pytest
from pydantic import ValidationError

from tabweave.errors import ConfigError
from tabweave.schema import DataSchema
from tabweave.text.config import (
    ALL_STEPS,
    MINIMAL_STEPS,
    TextConfig,
    TextFieldConfig,
    resolve_fields,
)


def schema(*text):
    return DataSchema(
        id="i",
        label="y",
        text=text,
        numeric=("n",),
        classes=("0", "1"),
        positive_label="1",
    )


def test_every_text_column_is_a_field_and_only_the_first_runs_all_steps():
    fields = resolve_fields(TextConfig(), schema("chat", "events", "Review Text"))
    assert [field.name for field in fields] == ["chat", "events", "Review Text"]
    assert [field.columns for field in fields] == [
        ("chat",),
        ("events",),
        ("Review Text",),
    ]
    assert [field.steps for field in fields] == [
        ALL_STEPS,
        MINIMAL_STEPS,
        MINIMAL_STEPS,
    ]
    assert {field.max_characters for field in fields} == {512 * 5 * 16}
    assert all(field.is_learned for field in fields)


def test_no_text_column_gives_no_field():
    assert resolve_fields(TextConfig(), schema()) == ()


def test_a_field_overrides_the_group():
    config = TextConfig(
        encoder="owner/model",
        chunk_truncate=True,
        fields=(
            TextFieldConfig(name="both", columns=("a", "b")),
            TextFieldConfig(
                name="b",
                encoder="scratch",
                steps=("dialogue_chunker", "tokenizer"),
                max_sen_len=64,
                max_total_chunks=2,
                chunk_truncate=False,
            ),
        ),
    )
    both, own = resolve_fields(config, schema("a", "b"))
    assert (both.columns, both.encoder, both.chunk_truncate) == (
        ("a", "b"),
        "owner/model",
        True,
    )
    assert (own.encoder, own.steps) == ("scratch", ("dialogue_chunker", "tokenizer"))
    assert (own.max_sen_len, own.max_total_chunks, own.chunk_truncate) == (64, 2, False)
    assert own.max_characters == 64 * 2 * 16


def test_the_character_cap_of_the_group_counts_for_its_fields():
    (field,) = resolve_fields(TextConfig(max_characters=99), schema("a"))
    assert field.max_characters == 99


def test_without_the_chunker_a_row_has_one_chunk():
    config = TextConfig(steps=("text_normalizer", "tokenizer"))
    (field,) = resolve_fields(config, schema("a"))
    assert (field.max_total_chunks, field.max_characters) == (1, 512 * 16)


def test_several_chunks_without_the_chunker_are_refused():
    field = TextFieldConfig(name="a", steps=("tokenizer",), max_total_chunks=3)
    with pytest.raises(
        ConfigError, match="max_total_chunks is 3, but without the step"
    ):
        resolve_fields(TextConfig(fields=(field,)), schema("a"))


@pytest.mark.parametrize("count", range(len(ALL_STEPS)))
def test_any_selection_in_order_with_the_tokenizer_is_allowed(count):
    for chosen in combinations(ALL_STEPS[:-1], count):
        assert TextConfig(steps=(*chosen, "tokenizer")).steps[-1] == "tokenizer"


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((), "the tokenizer is missing"),
        (("dialogue_splitter", "dialogue_chunker"), "the tokenizer is missing"),
        (("tokenizer", "emoji_remover"), "tokenizer stands before emoji_remover"),
        (
            ("emoji_remover", "html_normalizer", "tokenizer"),
            "emoji_remover stands before",
        ),
        (
            ("html_normalizer", "dialogue_splitter", "tokenizer"),
            "html_normalizer stands before dialogue_splitter",
        ),
        (
            ("dialogue_chunker", "emoji_remover", "tokenizer"),
            "dialogue_chunker stands before emoji_remover",
        ),
        (("tokenizer", "tokenizer"), "tokenizer appears more than once"),
    ],
)
@pytest.mark.parametrize("owner", [TextConfig, TextFieldConfig])
def test_a_senseless_order_is_refused_with_the_allowed_one(owner, steps, reason):
    named = {"name": "a"} if owner is TextFieldConfig else {}
    with pytest.raises(ValidationError) as caught:
        owner(steps=steps, **named)
    assert reason in str(caught.value)
    assert f"The allowed order is {', '.join(ALL_STEPS)}" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_sen_len": 2},
        {"max_total_chunks": 0},
        {"max_characters": 0},
        {"chunk_trancate": True},
        {"steps": ("stemmer", "tokenizer")},
        {"vocabulary_size": 10},
    ],
)
def test_impossible_values_and_unknown_keys_are_refused(wrong):
    with pytest.raises(ValidationError):
        TextConfig(**wrong)


def test_everything_wrong_with_the_fields_is_said_at_once():
    config = TextConfig(
        fields=(
            TextFieldConfig(name="chat", columns=("chta",)),
            TextFieldConfig(name="Chat", columns=("events", "events")),
        )
    )
    with pytest.raises(ConfigError) as caught:
        resolve_fields(config, schema("chat", "events"))
    message = str(caught.value)
    assert "'chta' is not a column of data.text. Did you mean 'chat'?" in message
    assert "the name 'Chat' is used more than once" in message
    assert "lists 'events' more than once" in message
    assert "data.text names 'chat', but no text field reads it" in message


def test_a_column_of_another_role_is_not_text():
    config = TextConfig(fields=(TextFieldConfig(name="n"),))
    with pytest.raises(ConfigError, match=r"'n' is not a column of data\.text"):
        resolve_fields(config, schema())


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".hidden", "a\\b", "what?", " a", "a.", "tab\t", "", "x" * 121],
)
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be a file name"):
        resolve_fields(TextConfig(), schema(name))


@pytest.mark.parametrize("name", ["Review Text", "a-b_c.d", "отзыв", "評論"])
def test_names_of_any_language_are_allowed(name):
    assert resolve_fields(TextConfig(), schema(name))[0].name == name
