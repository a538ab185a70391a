"""Text encoders: token ids of a field in, one vector per row out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging

from tabweave.batches import PackedText
from tabweave.errors import ConfigError
from tabweave.models.attention import PACKED
from tabweave.models.config import ScratchConfig

SUPPORTED = ("bert",)


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
    except (OSError, ValueError, StrictDataclassError) as error:
        raise ConfigError(
            f"text.encoder {source!r} cannot be loaded: {str(error).splitlines()[0]} "
            "Give a folder with config.json, model.safetensors and tokenizer.json, a hub "
            "id, or 'scratch'."
        ) from error
    if config.model_type not in SUPPORTED:
        raise ConfigError(
            f"text.encoder {source!r} is of kind {config.model_type!r}. Supported kinds: "
            f"{', '.join(SUPPORTED)}."
        )
    longest = config.max_position_embeddings
    if max_sen_len > longest:
        raise ConfigError(
            f"text.max_sen_len is {max_sen_len}, but the encoder {source!r} takes at most "
            f"{longest} tokens. Lower text.max_sen_len and re-run the text stage."
        )
    return _plain(config)


def _plain(config: Any) -> dict[str, Any]:
    # No dropout on attention weights: packed attention has none (see attention.py).
    config.attention_probs_dropout_prob = 0.0
    plain = cast("dict[str, Any]", config.to_diff_dict())
    plain.pop("_name_or_path", None)
    # Weights are fp32 whatever the files hold; precision is a matter of training.
    plain.pop("dtype", None)
    plain["attention_probs_dropout_prob"] = 0.0
    return plain


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """No progress bar, no report of unused weights; missing ones are an error of ours."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class BertTextEncoder(nn.Module):
    """A BERT encoder over packed chunks.

    The vector of a chunk is the mean of its token states, or the state of [CLS]. The
    vector of a row is the mean over its chunks; a row without text gets a learned vector.
    """

    def __init__(self, config: dict[str, Any], pooling: str = "mean") -> None:
        super().__init__()
        kind = AutoConfig.for_model(**config)
        self.encoder: PreTrainedModel = AutoModel.from_config(
            kind, attn_implementation=PACKED, add_pooling_layer=False
        )
        self.pooling = pooling
        self.width = int(kind.hidden_size)
        self.vocabulary_size = int(kind.vocab_size)
        self.missing = nn.Parameter(torch.zeros(self.width))

    def load_pretrained(self, source: str | Path) -> None:
        """Takes the weights of a pretrained encoder.

        Raises:
            ConfigError: The files do not hold the encoder's weights.
        """
        try:
            with _silent_transformers():
                pretrained, info = AutoModel.from_pretrained(
                    source,
                    attn_implementation=PACKED,
                    add_pooling_layer=False,
                    attention_probs_dropout_prob=0.0,
                    use_safetensors=True,
                    output_loading_info=True,
                    trust_remote_code=False,
                )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ConfigError(
                f"The weights of text.encoder {str(source)!r} cannot be loaded: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if info["missing_keys"]:
            raise ConfigError(
                f"text.encoder {str(source)!r} lacks weights: "
                f"{sorted(info['missing_keys'])[:5]}."
            )
        self.encoder.load_state_dict(pretrained.state_dict())

    def forward(self, text: PackedText) -> Tensor:
        """Row vectors of packed chunks.

        Shape:
            T tokens in n chunks of B rows -> [B, width], float32.
        """
        if not text.lengths:  # an encoder cannot run on no token at all
            return self.missing.expand(text.rows, -1)
        hidden = self.encoder(
            input_ids=text.ids[None],
            position_ids=text.positions[None],
            lengths=text.lengths,
        ).last_hidden_state[0]
        count = len(text.lengths)
        if self.pooling == "cls":
            chunks = hidden[text.positions == 0].float()
        else:
            chunks = _segment_mean(hidden.float(), text.token_chunk, count)
        rows = _segment_mean(chunks, text.chunk_row, text.rows)
        has_text = torch.bincount(text.chunk_row, minlength=text.rows) > 0
        return torch.where(has_text[:, None], rows, self.missing)

    def for_export(self) -> PaddedTextEncoder:
        """The same arithmetic over padded chunks, which an exporter can trace."""
        return PaddedTextEncoder(self)


class PaddedTextEncoder(nn.Module):
    """`BertTextEncoder` over padded [batch, chunks, seq]: for export and as oracle."""

    def __init__(self, packed: BertTextEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(packed.encoder)
        self.encoder.set_attn_implementation("sdpa")
        self.pooling = packed.pooling
        self.missing = nn.Parameter(packed.missing.detach().clone())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Row vectors of padded chunks; a chunk whose mask is all 0 does not count.

        Shape:
            ids, mask: [B, C, S] -> [B, width].
        """
        rows, chunks, length = ids.shape
        flat = mask.reshape(rows * chunks, length)
        first = torch.zeros_like(flat)
        first[:, :1] = 1
        # An empty chunk shows one token: softmax is never over nothing.
        seen = torch.where(flat.sum(1, keepdim=True) == 0, first, flat)
        hidden = self.encoder(
            input_ids=ids.reshape(rows * chunks, length), attention_mask=seen
        ).last_hidden_state
        if self.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            weight = seen.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * weight).sum(1) / weight.sum(1)
        vectors = vectors.reshape(rows, chunks, -1)
        real = (mask.sum(2) > 0).to(hidden.dtype).unsqueeze(-1)
        total = (vectors * real).sum(1) / real.sum(1).clamp(min=1)
        return torch.where(real.sum(1) > 0, total, self.missing)


def _segment_mean(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """Mean of the rows of `values` [n, d] per segment -> [count, d]; empty gives 0."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    size = torch.bincount(segment, minlength=count).clamp(min=1)
    return total / size[:, None]
