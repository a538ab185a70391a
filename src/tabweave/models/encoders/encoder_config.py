"""Which transformers serve as text encoders, and what differs between their kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel

from tabweave.errors import ConfigError
from tabweave.models.config import ScratchConfig
from tabweave.models.weights import check_repeats, stored_shapes
from tabweave.text.encoder_files import WEIGHTS

ODD_FILES = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError),
    *(ZeroDivisionError, SafetensorError),
)
"""What transformers raises at files that are not what they should be."""


@dataclass(frozen=True)
class EncoderKind:
    """What one kind of Hugging Face encoder wants.

    Attributes:
        layers: Where its layers are, as a path of attributes.
        adapted: Linear layers that low-rank adapters join: queries and values.
        positions_after_padding: Positions are counted from the id of the padding token
            on, so two of the encoder's positions can never be used.
        takes_pooler: Its constructor builds a pooler unless told not to.
        packed: It hands its attention to a registered function. The others run padded.
        recomputes: It can compute activations twice to save memory.
    """

    layers: str
    adapted: tuple[str, ...]
    positions_after_padding: bool = False
    takes_pooler: bool = True
    packed: bool = True
    recomputes: bool = True


_BERT = EncoderKind("encoder.layer", ("query", "value"))
_ROBERTA = EncoderKind(
    "encoder.layer", ("query", "value"), positions_after_padding=True
)
KINDS: dict[str, EncoderKind] = {
    "bert": _BERT,
    "distilbert": EncoderKind(
        "transformer.layer", ("q_lin", "v_lin"), takes_pooler=False
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": EncoderKind("encoder.layer", ("query", "value"), takes_pooler=False),
    "modernbert": EncoderKind("layers", ("Wqkv",), takes_pooler=False),
    "mpnet": EncoderKind(
        "encoder.layer",
        ("q", "v"),
        positions_after_padding=True,
        packed=False,
        recomputes=False,
    ),
    "deberta-v2": EncoderKind(
        "encoder.layer",
        ("query_proj", "value_proj"),
        takes_pooler=False,
        packed=False,
    ),
}
# Packed attention has no dropout on attention weights (see attention.py); every kind has
# its own name for it.
ATTENTION_DROPOUT = (
    "attention_probs_dropout_prob",
    "attention_dropout",
)


def scratch_encoder_config(
    size: ScratchConfig, vocabulary_size: int, max_sen_len: int, pad_id: int
) -> dict[str, Any]:
    """Configuration of a small BERT that is trained from nothing."""
    config = AutoConfig.for_model(
        "bert",
        vocab_size=vocabulary_size,
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        intermediate_size=size.intermediate_size,
        max_position_embeddings=max_sen_len,
        pad_token_id=pad_id,
    )
    return _plain(config)


def pretrained_encoder_config(source: str, max_sen_len: int) -> dict[str, Any]:
    """Configuration of a pretrained encoder in a local folder or on the hub.

    Raises:
        ConfigError: There is none, its kind is not supported, or its longest sequence is
            shorter than max_sen_len.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        _check_size(config, Path(source).expanduser())
    except (*ODD_FILES, StrictDataclassError) as error:
        raise ConfigError(
            f"text.encoder {source!r} cannot be loaded: "
            f"{first_line(error).rstrip('.')}. Give a folder with config.json, "
            "model.safetensors and tokenizer.json, a hub id, or 'scratch'."
        ) from error
    kind = KINDS.get(config.model_type)
    if kind is None:
        raise ConfigError(
            f"text.encoder {source!r} is of kind {config.model_type!r}. Supported kinds: "
            f"{', '.join(KINDS)}."
        )
    longest = config.max_position_embeddings - first_position(config)
    if max_sen_len > longest:
        raise ConfigError(
            f"text.max_sen_len is {max_sen_len}, but the encoder {source!r} takes at most "
            f"{longest} tokens. Lower text.max_sen_len.",
            stages=("text", "train"),
        )
    return _plain(config)


def _check_size(config: Any, folder: Path) -> None:
    """An encoder has no more numbers than its files have bytes, and is built for them.

    Raises:
        ValueError: It has more.
        SafetensorError: A file of weights is damaged.
    """
    files = sorted(folder.glob(WEIGHTS)) if folder.is_dir() else []
    if not files or config.model_type not in KINDS:
        return  # to say what is wrong there is for others
    check_repeats(config.to_dict(), len(stored_shapes(files)))
    size = sum(file.stat().st_size for file in files)
    with torch.device("meta"):  # shapes without memory
        numbers = sum(p.numel() for p in AutoModel.from_config(config).parameters())
    if numbers > size:
        raise ValueError(
            f"its config.json describes {numbers:,} weights, but the files of weights "
            f"have {size:,} bytes."
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def first_position(config: Any) -> int:
    """Position id of the first token of a sequence."""
    after_padding = KINDS[config.model_type].positions_after_padding
    return int(config.pad_token_id) + 1 if after_padding else 0


def _plain(config: Any) -> dict[str, Any]:
    plain = cast("dict[str, Any]", config.to_diff_dict())
    plain.pop("_name_or_path", None)
    # Weights are fp32 whatever the files hold; precision is a matter of training.
    plain.pop("dtype", None)
    for name in ATTENTION_DROPOUT:
        if hasattr(config, name):
            plain[name] = 0.0
    return plain
