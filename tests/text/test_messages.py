from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.tables.files import TableFile, write_parquet
from tabweave.text import messages
from tabweave.text.cleaning import message_cleaner
from tabweave.text.config import ALL_STEPS, MINIMAL_STEPS, TextField
from tabweave.text.dialogue import read_dialogue
from tabweave.text.messages import MessageReader, read_texts

PIECES = ["[bom]", "[eom]", "[BOM]", "hi", " ", "\n", "<b>", "<", "&lt;", "&", "\x00"]
PIECES += [
    "\u00a0",
    "\u3000",
    "\x1c",
    "\x0b",
    "退",
    "é",
    "😀",
    "❤\ufe0f",
    "\u200d",
    ";",
]
rows = st.lists(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=6),
    max_size=10,
)
STEPS = [
    ALL_STEPS,
    MINIMAL_STEPS,
    ("tokenizer",),
    ("text_normalizer", "tokenizer"),
    ("html_normalizer", "tokenizer"),
    ("emoji_remover", "tokenizer"),
]


def one_by_one(texts, steps, cleans):
    """Slow oracle: every row is split and cleaned by itself."""
    clean = message_cleaner(steps, tokenizer_cleans=cleans)
    lists, unmarked, outside = [], 0, 0
    for text in texts:
        found = read_dialogue(text)
        split = "dialogue_splitter" in steps
        lists.append([clean(m) for m in (found.messages if split else [text])])
        unmarked += bool(text.strip()) and not (split and found.has_markers)
        outside += split and found.has_text_outside
    return lists, unmarked, outside


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: steps[0])
@pytest.mark.parametrize("cleans", [True, False])
def test_rows_read_together_equal_rows_read_one_by_one(steps, cleans):
    reader = MessageReader(steps, tokenizer_cleans=cleans)

    @given(rows)
    def same(texts):
        found = reader.read(pa.array(texts, pa.large_string()))
        items, ends = found.texts.to_pylist(), found.offsets.tolist()
        lists = [items[a:b] for a, b in pairwise(ends)]
        counts = (found.rows_without_markers, found.rows_with_text_outside)
        assert (lists, *counts) == one_by_one(texts, steps, cleans)

    same()


def test_rows_without_anything_special_are_handed_on_as_they_are():
    texts = pa.array(["plain text", "naïve 退款 too"], pa.large_string())
    found = MessageReader(ALL_STEPS, tokenizer_cleans=True).read(texts)
    assert found.texts is texts
    assert found.offsets.tolist() == [0, 1, 2]


def read(tmp_path, values, cap=100):
    path = tmp_path / "table.parquet"
    write_parquet(path, pa.table({"chat": pa.array(values, pa.string())}))
    field = TextField(
        name="chat",
        columns=("chat",),
        encoder="scratch",
        steps=ALL_STEPS,
        max_sen_len=8,
        max_total_chunks=1,
        chunk_truncate=False,
        max_characters=cap,
    )
    return list(read_texts(TableFile(path), field))


def test_texts_come_together_until_there_are_bytes_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(messages, "BYTES_TOGETHER", 60)
    values = [f"row number {n}" for n in range(10)]
    found = [texts.values.to_pylist() for texts in read(tmp_path, values)]
    assert [row for rows in found for row in rows] == values
    assert 1 < len(found) < 5
    assert all(len(rows) > 2 for rows in found[:-1])


def test_missing_texts_are_empty_and_capped_ones_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "ROWS_PER_BATCH", 1)
    (found,) = read(tmp_path, ["退款退款", None, "abc", "abcd", "é"], cap=3)
    assert found.values.to_pylist() == ["退款退", "", "abc", "abc", "é"]
    assert found.capped == 2
    assert read(tmp_path, []) == []
