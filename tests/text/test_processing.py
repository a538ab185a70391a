import hashlib
import json
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tabweave.errors import ArtifactError, ConfigError
from tabweave.schema import DataSchema
from tabweave.tables.files import ArrowFile, TableFile, write_arrow, write_parquet
from tabweave.text import messages
from tabweave.text.cleaning import message_cleaner
from tabweave.text.config import (
    ALL_STEPS,
    TextConfig,
    TextField,
    TextFieldConfig,
    resolve_fields,
)
from tabweave.text.dialogue import split_dialogue
from tabweave.text.processing import (
    TokenInfo,
    learn_or_load_tokenizers,
    tokenize_table,
    tokenize_tables,
)
from tabweave.text.vocabulary import learn_vocabulary

TRAIN = [
    "[bom]hello there, where is my order?[eom] [bom]it is on the way[eom]",
    "no markers at all but a refund 退款 한국어 please",
    "[bom]<b>late</b> again &amp; again 😀[eom][bom]sorry, sorry[eom]",
] * 3
LEARNED = learn_vocabulary(
    TRAIN, TextConfig(vocabulary_size=300, vocabulary_min_frequency=1)
)
pieces = st.lists(
    st.sampled_from(
        [
            "[bom]",
            "[eom]",
            "hello ",
            "refund",
            " again",
            "<b>",
            "&lt;",
            "退",
            "😀",
            " ",
            "qq",
        ]
    ),
    max_size=25,
).map("".join)


def field(**changed):
    given_ = {
        "name": "chat",
        "columns": ("chat",),
        "encoder": "scratch",
        "steps": ALL_STEPS,
        "max_sen_len": 8,
        "max_total_chunks": 3,
        "chunk_truncate": False,
        "max_characters": 10_000,
    }
    return TextField(**{**given_, **changed})


def stored(folder, **columns):
    path = folder / "table.parquet"
    write_parquet(
        path, pa.table({n: pa.array(v, pa.string()) for n, v in columns.items()})
    )
    return TableFile(path)


def tokens(folder, texts, one, tokenizer=LEARNED):
    found = tokenize_table(stored(folder, chat=texts), [one], {"chat": tokenizer})
    return found.table["chat"].to_pylist(), found.report["chat"], found.table


def slow_row(text, one, tokenizer):
    """Oracle: one plain tokenizer call per message, and lists of ids."""
    text = text[: one.max_characters]
    messages = split_dialogue(text) if "dialogue_splitter" in one.steps else [text]
    clean = message_cleaner(one.steps, tokenizer_cleans=True)
    limit, done, chunk, total = one.max_sen_len - 2, [], [], 0
    for message in messages:
        ids = tokenizer.encode(clean(message), add_special_tokens=False).ids
        total += len(ids)
        ids = ids[:limit] if one.chunk_truncate else ids
        if chunk and len(chunk) + len(ids) > limit:
            done.append(chunk)
            chunk = []
        for token in ids:
            if len(chunk) == limit:
                done.append(chunk)
                chunk = []
            chunk.append(token)
    done = ([*done, chunk] if chunk else done)[: one.max_total_chunks]
    return [[2, *ids, 3] for ids in done], total - sum(map(len, done))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(pieces, min_size=1, max_size=8),
    st.integers(3, 9),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([ALL_STEPS, ALL_STEPS[4:], ALL_STEPS[1:]]),
    st.sampled_from([20, 10_000]),
)
def test_equals_the_slow_oracle(tmp_path, texts, length, chunks, cut, steps, cap):
    one = field(
        max_sen_len=length,
        max_total_chunks=chunks,
        chunk_truncate=cut,
        steps=steps,
        max_characters=cap,
    )
    plain = Tokenizer.from_str(LEARNED)
    plain.encode_special_tokens = True
    expected = [slow_row(text, one, plain) for text in texts]
    rows, report, _ = tokens(tmp_path, texts, one)
    assert rows == [row for row, _ in expected]
    assert report["rows"] == len(texts)
    assert report["dropped_tokens"] == sum(dropped for _, dropped in expected)
    assert report["rows_with_dropped_tokens"] == sum(d > 0 for _, d in expected)
    assert report["tokens"] == sum(len(c) - 2 for row in rows for c in row)
    assert report["rows_truncated_by_max_characters"] == sum(
        len(t) > cap for t in texts
    )
    assert all(c[0] == 2 and c[-1] == 3 and len(c) <= length for r in rows for c in r)


def test_a_row_does_not_depend_on_its_batch(tmp_path, monkeypatch):
    texts = [*TRAIN, "", "[bom]" * 5, "hello " * 50] * 4
    whole, report, _ = tokens(tmp_path, texts, field())
    monkeypatch.setattr(messages, "ROWS_PER_BATCH", 3)
    monkeypatch.setattr(messages, "BYTES_TOGETHER", 1)
    parts, report_of_parts, _ = tokens(tmp_path, texts, field())
    alone = [tokens(tmp_path, [text], field())[0][0] for text in texts]
    assert whole == parts == alone
    assert report == report_of_parts


def test_text_without_tokens_has_no_chunk(tmp_path):
    texts = ["", "   ", "[bom][eom]", "<br/>", "😀", "hello"]
    rows, report, _ = tokens(tmp_path, texts, field())
    assert [len(row) for row in rows] == [0, 0, 0, 0, 0, 1]
    assert report["rows_without_tokens"] == 5
    assert report["chunks_per_row"] == {"0": 5, "1": 1}


def test_the_report_tells_of_markers_only_when_they_are_sought(tmp_path):
    texts = ["[bom]hello[eom]", "hello", "", "lost [bom]hello[eom]"]
    _, report, _ = tokens(tmp_path, texts, field())
    assert report["rows_without_markers"] == 1
    assert report["rows_with_text_outside"] == 1
    _, report, _ = tokens(tmp_path, texts, field(steps=ALL_STEPS[1:]))
    assert "rows_without_markers" not in report


def test_unknown_tokens_are_counted(tmp_path):
    _, report, _ = tokens(tmp_path, ["hello ы ы", "退"], field())
    assert report["unknown_tokens"] == 2
    assert report["encoded_by"] == "word memo"
    json.dumps(report)


def test_columns_are_joined_by_one_blank_and_capped_as_one(tmp_path):
    table = stored(
        tmp_path, a=["hello", "", None, "my"], b=["order", "refund", "it", ""]
    )
    one = field(columns=("a", "b"), steps=("dialogue_chunker", "tokenizer"))
    joined = ["hello order", " refund", " it", "my "]
    found = tokenize_table(table, [one], {"chat": LEARNED}).table["chat"].to_pylist()
    assert found == tokens(tmp_path, joined, field(steps=one.steps))[0]
    table = stored(tmp_path, a=["hello", "héllo"], b=["order", ""])
    capped = one.model_copy(update={"max_characters": 8})
    result = tokenize_table(table, [capped], {"chat": LEARNED})
    expected = tokens(tmp_path, ["hello or", "héllo "], field(steps=one.steps))[0]
    assert result.table["chat"].to_pylist() == expected
    assert result.report["chat"]["rows_truncated_by_max_characters"] == 1


def test_the_cap_counts_code_points_of_the_raw_text(tmp_path):
    exact, longer = "退" * 5 + "😀" * 5, "退" * 5 + "😀" * 5 + "a"
    rows, report, _ = tokens(tmp_path, [exact, longer], field(max_characters=10))
    assert rows[0] == rows[1]
    assert report["rows_truncated_by_max_characters"] == 1


def test_the_table_is_one_record_batch_of_nested_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(messages, "BYTES_TOGETHER", 1)
    rows, _, table = tokens(tmp_path, TRAIN, field())
    assert table.schema.field("chat").type == pa.large_list(pa.large_list(pa.uint16()))
    assert table["chat"].num_chunks == 1
    write_arrow(tmp_path / "t.arrow", table)
    with pa.ipc.open_file(str(tmp_path / "t.arrow")) as reader:
        assert reader.num_record_batches == 1
    mapped = ArrowFile(tmp_path / "t.arrow").open()
    assert mapped["chat"].to_pylist() == rows
    size = len(Tokenizer.from_str(LEARNED).get_vocab())
    assert TokenInfo.read(mapped.schema, "chat") == TokenInfo(
        cls_id=2,
        sep_id=3,
        pad_id=0,
        vocabulary_size=size,
        max_sen_len=8,
        max_total_chunks=3,
        encoder="scratch",
        tokenizer_digest=hashlib.sha256(LEARNED.encode()).hexdigest(),
        encoder_digest=None,
    )
    foreign = mapped.schema.with_metadata({"chat": '{"cls_id": 2}'})
    with pytest.raises(ArtifactError, match=r"'chat' is of another version .*Re-run"):
        TokenInfo.read(foreign, "chat")
    with pytest.raises(ArtifactError, match="says nothing about a text field 'x'"):
        TokenInfo.read(mapped.schema, "x")


def test_an_empty_table_gives_an_empty_column(tmp_path):
    rows, report, table = tokens(tmp_path, [], field())
    assert (rows, report["rows"], report["chunks_per_row"]) == ([], 0, {})
    assert table.schema.field("chat").type == pa.large_list(pa.large_list(pa.uint16()))


def test_without_a_text_field_the_rows_are_still_counted(tmp_path):
    found = tokenize_table(stored(tmp_path, chat=["a", "b", "c"]), [], {})
    assert (found.table.num_rows, found.table.num_columns, found.report) == (3, 0, {})
    write_arrow(tmp_path / "t.arrow", found.table)
    assert ArrowFile(tmp_path / "t.arrow").open().num_rows == 3


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(70_000))]
    big = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}))
    big.normalizer = normalizers.BertNormalizer()
    big.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    big.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    rows, _, table = tokens(tmp_path, ["w0 w69999", "w1"], field(), big.to_str())
    assert table.schema.field("chat").type == pa.large_list(pa.large_list(pa.int32()))
    assert rows == [[[2, 4, 70_003, 3]], [[2, 5, 3]]]


def test_a_tokenizer_that_is_not_bert_gets_white_space_normalised(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", *alphabet]
    other = Tokenizer(models.BPE({t: n for n, t in enumerate(names)}, []))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.add_special_tokens(names[:3])
    other.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    texts = ["ab c", " ab \u3000\x00 c\n"]
    rows, report, _ = tokens(tmp_path, texts, field(), other.to_str())
    assert rows[0] == rows[1]
    assert report["encoded_by"] == "batch encoding"
    assert "WordPiece" in report["encoded_by_reason"]
    assert report["unknown_tokens"] is None
    raw, _, _ = tokens(tmp_path, texts, field(steps=ALL_STEPS[4:]), other.to_str())
    assert raw[0] != raw[1]


def test_several_fields_have_tokenizers_of_their_own(tmp_path):
    schema = DataSchema(
        id="i", label="y", text=("a", "b"), classes=("0", "1"), positive_label="1"
    )
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "tokenizer.json").write_text(LEARNED, encoding="utf-8")
    config = TextConfig(
        vocabulary_min_frequency=1,
        fields=(
            TextFieldConfig(name="first", columns=("a",)),
            TextFieldConfig(name="second", columns=("b",)),
            TextFieldConfig(
                name="third", columns=("a", "b"), encoder=str(tmp_path / "encoder")
            ),
        ),
    )
    fields = resolve_fields(config, schema)
    table = stored(tmp_path, a=["[bom]<i>one</i>[eom]", "two"], b=["<i>three", "four"])
    tokenizers = learn_or_load_tokenizers(table, fields, config)
    assert list(tokenizers) == ["first", "second", "third"]
    assert tokenizers["third"] == LEARNED
    first = Tokenizer.from_str(tokenizers["first"]).get_vocab()
    second = Tokenizer.from_str(tokenizers["second"]).get_vocab()
    assert "n" in first
    assert not {"<", "[", "m"} & set(first)  # learned from cleaned messages
    assert {"<", ">"} <= set(second)  # the second field keeps its markup
    found = tokenize_table(table, fields, tokenizers)
    assert found.table.column_names == ["first", "second", "third"]
    assert list(found.report) == ["first", "second", "third"]
    for name, text in tokenizers.items():
        info = TokenInfo.read(found.table.schema, name)
        assert info.vocabulary_size == len(Tokenizer.from_str(text).get_vocab())
        assert info.tokenizer_digest == hashlib.sha256(text.encode()).hexdigest()
        assert (info.encoder_digest is None) is (name != "third")


def test_tables_that_share_a_tokenizer_get_what_each_gets_alone(tmp_path):
    tables = []
    for name, texts in (("a", TRAIN), ("b", ["", "new words ы"]), ("c", [])):
        (tmp_path / name).mkdir()
        tables.append(stored(tmp_path / name, chat=texts))
    alone = [tokenize_table(table, [field()], {"chat": LEARNED}) for table in tables]
    shared = tokenize_tables(tables, [field()], {"chat": LEARNED})
    for one, other in zip(alone, shared, strict=True):
        assert one.table.equals(other.table, check_metadata=True)
        assert one.report == other.report


def test_an_unusable_encoder_is_refused_with_the_name_of_its_field(tmp_path):
    table = stored(tmp_path, chat=["", ""])
    with pytest.raises(ConfigError, match="Text field 'chat': a vocabulary cannot be"):
        learn_or_load_tokenizers(table, [field()], TextConfig())
    with pytest.raises(
        ConfigError, match=r"Text field 'chat': text.encoder './no' looks"
    ):
        learn_or_load_tokenizers(table, [field(encoder="./no")], TextConfig())


def test_a_field_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"no tokenizer for text field \['chat'\]"):
        tokenize_table(stored(tmp_path, chat=["a"]), [field()], {"other": LEARNED})


@pytest.mark.parametrize(
    "unit",
    [
        "[bom]",
        "<!",
        "<div>",
        "<a ",
        "a\u0301",
        "a",
        "退",
        "&amp;",
        "[bom]a[eom]",
        "a ",
        "!",
    ],
)
def test_a_hostile_megabyte_takes_seconds_at_most(tmp_path, unit):
    one = field(max_sen_len=512, max_total_chunks=5, max_characters=512 * 5 * 16)
    text = unit * (2**20 // len(unit.encode()))
    table = stored(tmp_path, chat=["hello", text])
    start = time.process_time()
    report = tokenize_table(table, [one], {"chat": LEARNED}).report["chat"]
    assert time.process_time() - start < 5
    assert report["rows_truncated_by_max_characters"] == 1


def test_neither_torch_nor_kedro_is_imported():
    code = (
        "import sys, tabweave.text\n"
        "from tabweave.text.vocabulary import learn_vocabulary as learn\n"
        "tabweave.text.FieldTokenizer(learn(['a b'], tabweave.text.TextConfig()))\n"
        "print({'torch', 'transformers', 'lightning', 'kedro'} & set(sys.modules))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
