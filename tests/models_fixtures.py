"""A tiny fabricated data set and models over it, for tests that need torch.

The vocabulary has 200 tokens, a model 2 layers of width 32. Labels can be learned from
the text and from the table; a row without a review always has the first class.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tabweave.models.config import ARCHITECTURES, ModelConfig, ModelSpec
from tabweave.tables.files import ArrowFile, write_arrow
from tabweave.text.encoder_files import encoder_digest, tokenizer_digest
from tabweave.text.processing import TokenInfo
from tabweave.text.tokenization import load_tokenizer_json

Chunks = list[list[int]]

VOCABULARY, CLS, SEP = 200, 2, 3
MAX_SEN_LEN, MAX_TOTAL_CHUNKS = 12, 3
FIELDS = ("review", "title")
FEATURES = ("num:amount", "num:age", "cat:market", "missing:age")

# Every architecture once in `make test`, with the other number of classes in
# `make test-slow`: what learns or exports a model takes seconds.
WITH_CLASSES = [
    pytest.param(
        *(name, classes), marks=[pytest.mark.slow] if (at + classes) % 2 else []
    )
    for at, name in enumerate(ARCHITECTURES)
    for classes in (2, 3)
]


def token_column(rows: Sequence[Chunks], dtype: Any = np.uint16) -> pa.Array:
    """Row -> chunks -> token ids, as the text stage writes them."""
    kind = pa.large_list(pa.large_list(pa.from_numpy_dtype(dtype)))
    return pa.array(rows, kind)


def token_info(**changes: Any) -> TokenInfo:
    """What the text stage says about a field."""
    values: dict[str, Any] = {
        "cls_id": CLS,
        "sep_id": SEP,
        "pad_id": 0,
        "vocabulary_size": VOCABULARY,
        "max_sen_len": MAX_SEN_LEN,
        "max_total_chunks": MAX_TOTAL_CHUNKS,
        "encoder": "scratch",
    }
    values |= changes
    return TokenInfo(**(_digests(values["encoder"]) | values))


def _digests(encoder: str) -> dict[str, str | None]:
    """What the text stage notes of the encoder's files."""
    content = "" if encoder == "scratch" else load_tokenizer_json(encoder)
    return {
        "tokenizer_digest": tokenizer_digest(content),
        "encoder_digest": encoder_digest(encoder),
    }


def write_tokens(
    path: Path,
    columns: dict[str, Sequence[Chunks]],
    dtype: Any = np.uint16,
    **info: Any,
) -> ArrowFile:
    """A token table with its metadata; `info` changes what it says of every field."""
    record = json.dumps(asdict(token_info(**info)))
    table = pa.table(
        {name: token_column(rows, dtype) for name, rows in columns.items()}
    )
    write_arrow(path, table.replace_schema_metadata(dict.fromkeys(columns, record)))
    return ArrowFile(path)


def write_features(
    path: Path,
    values: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str] = FEATURES,
) -> ArrowFile:
    """A feature table whose ids are row-0, row-1, ..."""
    columns = {
        "id": pa.array([f"row-{n}" for n in range(len(labels))]),
        "label": pa.array(labels, pa.int64()),
    }
    columns |= {
        name: pa.array(values[:, n], pa.float32()) for n, name in enumerate(names)
    }
    write_arrow(path, pa.table(columns))
    return ArrowFile(path)


def _chunks(draw: np.random.Generator, count: int, label: int) -> Chunks:
    """Chunks of random tokens with two that tell the class at random places."""
    found = []
    for _ in range(count):
        words = draw.integers(50, VOCABULARY, draw.integers(1, MAX_SEN_LEN - 2))
        words[draw.integers(0, len(words), 2)] = 10 + label
        found.append([CLS, *words.tolist(), SEP])
    return found


@dataclass(frozen=True)
class Tiny:
    """Tables, descriptions and models of the tiny data set."""

    folder: Path

    def files(
        self,
        rows: int = 48,
        classes: int = 2,
        seed: int = 0,
        fields: int = 2,
        **info: Any,
    ) -> tuple[ArrowFile, ArrowFile]:
        """Token and feature table; rows 0, 1, 2 and 3 have 0, 1, 3 and 2 chunks."""
        said = "-".join(f"{key}={Path(str(info[key])).name}" for key in sorted(info))
        name = f"{rows}-{classes}-{seed}-{fields}-{said}"
        tokens = ArrowFile(self.folder / f"tokens-{name}.arrow")
        features = ArrowFile(self.folder / f"features-{name}.arrow")
        if features.path.exists():
            return tokens, features
        draw = np.random.default_rng(seed)
        counts = draw.choice([0, 1, 1, 2, 3], (rows, 2))
        counts[:4] = np.array([[0, 1], [1, 0], [3, 3], [2, 1]])[:rows]
        labels = draw.integers(0, classes, rows)
        labels[counts[:, 0] == 0] = 0
        pairs = list(zip(counts, labels.tolist(), strict=True))
        columns = {
            field: [_chunks(draw, count[n], label) for count, label in pairs]
            for n, field in enumerate(FIELDS[:fields])
        }
        values = draw.normal(size=(rows, len(FEATURES)))
        values[:, 2] += 2 * labels
        write_tokens(tokens.path, columns, **info)
        return tokens, write_features(features.path, values, labels.tolist())

    def rows(self, model_class: str = "trimodal_bert", **files: Any) -> Any:
        """The rows with the text fields that an architecture takes."""
        from tabweave.batching.batches import Rows

        return Rows(*self.files(**files), FIELDS[: field_count(model_class)])

    def spec(
        self,
        model_class: str,
        classes: int = 2,
        *,
        features: Sequence[str] = FEATURES,
        encoder: str = "scratch",
        bins: Sequence[Sequence[float]] = (),
        fields: int | None = None,
        **config: Any,
    ) -> ModelSpec:
        """The description of a tiny model."""
        from tabweave.models.registry import TextInput, describe_model

        info = token_info()
        count = field_count(model_class) if fields is None else fields
        inputs = [
            TextInput(
                name=name,
                encoder=encoder,
                vocabulary_size=info.vocabulary_size,
                pad_id=info.pad_id,
                max_sen_len=info.max_sen_len,
                max_total_chunks=info.max_total_chunks,
            )
            for name in (*FIELDS, "note")[:count]
        ]
        return describe_model(
            model_config(model_class, **config),
            inputs,
            features,
            [f"class {n}" for n in range(classes)],
            bins,
        )

    def plan(
        self,
        model_class: str,
        folder: Path,
        *,
        classes: int = 2,
        metric: Any = None,
        encoder: str = "scratch",
        **training: Any,
    ) -> Any:
        """48 train and 24 val rows, batches of 8, two epochs, one thread."""
        from tabweave.evaluation.metrics import compute_metrics
        from tabweave.statistics.classification import METRICS
        from tabweave.training.config import TrainingConfig
        from tabweave.training.plan import make_plan

        names = [f"class {n}" for n in range(classes)]
        made = {
            "classes": classes,
            "fields": max(1, field_count(model_class)),
            "encoder": encoder,
        }
        train = self.files(rows=48, **made)
        val = self.files(rows=24, seed=1, **made)
        defaults = {"batch_size": 8, "max_epochs": 2, "threads": 1}
        return make_plan(
            tokens=(train[0], val[0]),
            features=(train[1], val[1]),
            classes=names,
            model=model_config(model_class),
            training=TrainingConfig(**(defaults | training)),
            metric=metric
            or partial(
                compute_metrics,
                metrics=METRICS,
                classes=names,
                positive_index=1,
                stage="val",
            ),
            checkpoints=folder / "checkpoints",
            log_folder=folder / "events",
        )

    def model(
        self, model_class: str, classes: int = 2, seed: int = 0, **config: Any
    ) -> Any:
        """A tiny model with random weights, in eval mode.

        Weights are drawn wide, so that a wrong answer is far from the right one.
        """
        import torch

        from tabweave.models.registry import build_model

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build_model(self.spec(model_class, classes, **config))
            with torch.no_grad():
                model.head.weight.mul_(4)
                # The mean of several experts would be small.
                for expert in getattr(model.fusion, "experts", ()):
                    for weight in expert.parameters():
                        weight.mul_(2 if weight.ndim > 1 else 1)
                for text in model.text_encoders:
                    text.missing.normal_()
                    # Norms bring a transformer's states back to size; others would grow.
                    wide = 8 if hasattr(text, "encoder") else 1.5
                    for weight in (p for group in text.layers() for p in group):
                        weight.mul_(wide if weight.ndim > 1 else 1)
        return model.eval()


_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
# Positions of these begin after the id of the padding token.
_AFTER_PADDING = _SMALL | {"max_position_embeddings": 42, "pad_token_id": 1}
LONGEST = 40
KIND_SIZES: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 40,
    },
    "roberta": _AFTER_PADDING,
    "xlm-roberta": _AFTER_PADDING,
    "camembert": _AFTER_PADDING,
    "electra": _SMALL | {"embedding_size": 16},
    "modernbert": _SMALL
    | {
        "num_hidden_layers": 4,
        "local_attention": 8,
        "pad_token_id": 0,
        "cls_token_id": CLS,
        "sep_token_id": SEP,
        "bos_token_id": CLS,
        "eos_token_id": SEP,
    },
    "mpnet": _AFTER_PADDING,
    "deberta-v2": _SMALL
    | {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
    },
}
"""One small configuration of every supported kind of encoder; each takes 40 tokens."""


def library_model(kind: str, *, seed: int = 0, **changes: Any) -> Any:
    """The library's own encoder of a kind with wide random weights, in eval mode."""
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(kind, **(KIND_SIZES[kind] | changes))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, attn_implementation="eager")
        for weight in model.parameters():
            # A bias or a norm that is left out must show.
            weight.mul_(6) if weight.ndim > 1 else weight.add_(
                0.2 * torch.randn_like(weight)
            )
    return model.eval()


def packed_text(
    lengths: Sequence[int], chunk_row: Sequence[int], rows: int, seed: int = 0
) -> Any:
    """Chunks of random ordinary tokens: their lengths, and the row of each."""
    import torch

    from tabweave.batching.batches import PackedText

    draw = torch.Generator().manual_seed(seed)
    return PackedText(
        ids=torch.randint(5, VOCABULARY, (sum(lengths),), generator=draw),
        positions=torch.cat(
            [torch.arange(n) for n in lengths] or [torch.zeros(0, dtype=torch.int64)]
        ),
        token_chunk=torch.repeat_interleave(
            torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64)
        ),
        chunk_row=torch.tensor(chunk_row, dtype=torch.int64),
        lengths=list(lengths),
        rows=rows,
    )


def assert_chunks_are_apart(encoder: Any, text: Any) -> None:
    """The states of a chunk stay the same bits when all other chunks change."""
    import torch

    before = encoder.packed_states(text)
    for chunk in range(len(text.lengths)):
        own = text.token_chunk == chunk
        other = replace(text, ids=torch.where(own, text.ids, text.ids.flip(0)))
        after = encoder.packed_states(other)
        assert torch.equal(after[own], before[own])
        assert not torch.equal(after[~own], before[~own])


def model_config(model_class: str, **config: Any) -> ModelConfig:
    """Two layers of width 32 with two heads."""
    size = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64}
    # Piecewise embeddings need bins; the tests of them give some.
    plain = {"numeric_embedding": {"kind": "linear"}}
    values = {"hidden_common_dim": 16, "scratch": size, **plain} | config
    return ModelConfig(model_class=model_class, **values)


def field_count(model_class: str) -> int:
    """Text fields that an architecture takes; two where it takes any number."""
    fields = ARCHITECTURES[model_class].fields
    return 2 if fields is None else fields


@contextmanager
def small_disk(limit: int = 100_000) -> Iterator[None]:
    """No file can grow beyond so many bytes: what writing to a full disk is like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny data set, written once per session."""
    return Tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a small pretrained encoder of a kind, without a tokenizer."""
    base = tmp_path_factory.mktemp("kinds")

    def find(kind: str) -> Path:
        if not (base / kind).exists():
            library_model(kind).save_pretrained(base / kind)
        return base / kind

    return find


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT in the library's own format, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("pretrained")
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=MAX_SEN_LEN,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        # With the pooling layer, as published encoders have one.
        BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(_tokenizer_json(), encoding="utf-8")
    return folder


def _tokenizer_json() -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"word{n}" for n in range(VOCABULARY - len(special))]
    vocabulary = {piece: n for n, piece in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    return str(tokenizer.to_str())
