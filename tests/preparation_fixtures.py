"""Small vocabularies, text fields and preparations, and graphs that are run at once."""

from functools import cache

import numpy as np
import onnxruntime
import pyarrow as pa
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tabweave.export.graph.preprocessing import preprocessing_model
from tabweave.export.graph.preprocessing_session import PreprocessingSession
from tabweave.export.graph.wordpiece import read_wordpiece
from tabweave.preparation.features import (
    fit_tabular,
)
from tabweave.preparation.reference import Preparation
from tabweave.schema import DataSchema
from tabweave.tabular import (
    TabularConfig,
)
from tabweave.text.config import ALL_STEPS, TextConfig, TextField
from tabweave.text.vocabulary import learn_vocabulary

SAMPLE = [
    "the quick brown fox, don't e-mail: a/b $5.00 hello there one two three x",
    "unaffable unaffordable affordable walking walked talking talked 2024 1999",
    "退款 中文 한국어 조선 ひらがな カタカナ العربية Привет й é ü ß straße & < > [ ]",
] * 2
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SCRATCH = learn_vocabulary(
    SAMPLE, TextConfig(vocabulary_size=500, vocabulary_min_frequency=1)
)
NAMES = (("ids", "mask"), ("more_ids", "more_mask"), ("last_ids", "last_mask"))


def wordpiece_json(words, *, special=SPECIAL, longest=100, **normalizer):
    """A WordPiece tokenizer with some words and every single character of them."""
    letters = sorted(set("".join(words)))
    pieces = dict.fromkeys(
        [*special, *words, *letters, *(f"##{letter}" for letter in letters)]
    )
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    unknown = special[1]
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary, unk_token=unknown, max_input_chars_per_word=longest
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(special))
    tokenizer.post_processor = processors.BertProcessing(
        (special[3], vocabulary[special[3]]), (special[2], vocabulary[special[2]])
    )
    tokenizer.enable_padding(pad_id=vocabulary[special[0]], pad_token=special[0])
    return tokenizer.to_str()


@cache
def wordpiece_tables(tokenizer_json=SCRATCH):
    """Reading Unicode takes a second, so it is done once."""
    return read_wordpiece(tokenizer_json)


def text_field(name="chat", columns=("chat",), **changed):
    given = {
        "encoder": "scratch",
        "steps": ALL_STEPS,
        "max_sen_len": 16,
        "max_total_chunks": 4,
        "chunk_truncate": False,
        "max_characters": 2000,
    }
    return TextField(name=name, columns=columns, **{**given, **changed})


TABLE = pa.table(
    {
        "id": ["a", "b", "c", "d", "e", "f", "g", "h"],
        "y": ["no", "yes", "no", "maybe", "yes", "no", "maybe", "no"],
        "chat": ["hello", "one two", "", "the fox", "walking", "x", "3", "hello"],
        "shop": ["de", "fr", "de", "", "fr", "de", "de", "fr"],
        "plan": ["a", "a", "b", "b", "a", "a", "b", "c"],
        "price": pa.array([1.5, None, 3.25, 1e6, -7.0, 0.1, None, 2.0], pa.float32()),
        "age": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.float32()),
    }
)


CHAT = text_field()


def preparation(fields=(CHAT,), tokenizers=SCRATCH, features=(), **tabular):
    """A preparation whose table parts are fitted on TABLE."""
    fields = tuple(fields)
    if isinstance(tokenizers, str):
        tokenizers = {one.name: tokenizers for one in fields}
    names = dict.fromkeys(name for one in fields for name in one.columns)
    schema = DataSchema(
        id="id",
        label="y",
        text=tuple(names),
        categorical=("shop", "plan"),
        numeric=("price", "age"),
        classes=("maybe", "no", "yes"),
        positive_label="yes",
    )
    config = TabularConfig(cross_fit=1, count_threshold=1, **tabular)
    fitted = fit_tabular(TABLE, schema, config)
    return Preparation(
        schema,
        fields,
        tokenizers,
        fitted.imputer,
        fitted.risk_tables,
        fitted.scaler,
        tuple(features),
    )


def prepare_session(prepared, opset=20):
    """A session of the preprocessing model."""
    names = NAMES[: len(prepared.fields)]
    model = preprocessing_model(
        prepared, text_names=names, table_name="tab", opset=opset
    )
    return PreprocessingSession(model.SerializeToString(), prepared, names, "tab")


def session_of(graph, opset=20):
    """A session that runs a graph."""
    model = graph.model("test", opset).SerializeToString()
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def run_graph(graph, opset=20, **feed):
    """All outputs of a graph, by name."""
    session = session_of(graph, opset)
    names = [output.name for output in session.get_outputs()]
    feed = {
        name: np.array(value, object) if isinstance(value, list) else value
        for name, value in feed.items()
    }
    return dict(zip(names, session.run(names, feed), strict=True))
