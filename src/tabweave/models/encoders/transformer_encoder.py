"""A Hugging Face transformer as text encoder, over packed chunks without padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging

from tabweave.batching.batches import PackedText
from tabweave.errors import ConfigError
from tabweave.models.dropout import with_fast_dropout
from tabweave.models.encoders.attention import PACKED
from tabweave.models.encoders.encoder_config import (
    ATTENTION_DROPOUT,
    KINDS,
    ODD_FILES,
    first_line,
    first_position,
)
from tabweave.models.encoders.lanes import halves, pays, run_in_lanes
from tabweave.models.encoders.text_encoder import Layout, TextEncoder
from tabweave.models.linear import with_fast_linear
from tabweave.models.weights import check_finite

PADDED, EAGER = "sdpa", "eager"
POOLER = "pooler.dense."


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


def _options(kind: Any, *, pooler: bool = False) -> dict[str, Any]:
    """Arguments that the constructor of a kind of encoder takes."""
    known = KINDS[kind.model_type]
    options: dict[str, Any] = {"attn_implementation": PACKED if known.packed else EAGER}
    return options | ({"add_pooling_layer": pooler} if known.takes_pooler else {})


def pretrained_model(source: str | Path, *, pooler: bool = False) -> PreTrainedModel:
    """The encoder of a folder or the hub with its weights, in fp32.

    Raises:
        ConfigError: The files do not hold the encoder's weights.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        quiet = {name: 0.0 for name in ATTENTION_DROPOUT if hasattr(config, name)}
        with _silent_transformers():
            model, info = AutoModel.from_pretrained(
                source,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
                dtype=torch.float32,
                **quiet,
                **_options(config, pooler=pooler),
            )
        check_finite(model.state_dict())
    except ODD_FILES as error:
        raise ConfigError(
            f"The weights of text.encoder {str(source)!r} cannot be loaded: "
            f"{first_line(error)}"
        ) from error
    lacking = sorted(k for k in info["missing_keys"] if not k.startswith(POOLER))
    if lacking:
        raise ConfigError(f"text.encoder {str(source)!r} lacks weights: {lacking[:5]}.")
    return cast("PreTrainedModel", model)


class TransformerEncoder(TextEncoder):
    """BERT and its kin.

    Args:
        config: Full Hugging Face configuration.
        pooling: "mean", "cls", or "pooler": a dense layer and tanh on [CLS].
    """

    def __init__(self, config: dict[str, Any], pooling: str = "mean") -> None:
        kind = AutoConfig.for_model(**config)
        way = "cls" if pooling == "pooler" else pooling
        width = int(kind.hidden_size)
        super().__init__(width, int(kind.vocab_size), int(kind.pad_token_id or 0), way)
        self.encoder: PreTrainedModel = with_fast_linear(
            with_fast_dropout(AutoModel.from_config(kind, **_options(kind)))
        )
        self.kind = KINDS[kind.model_type]
        self.first_position = first_position(kind)
        self.pooler = nn.Linear(width, width) if pooling == "pooler" else None
        self.start_pooler()

    def start_pooler(self) -> None:
        """New weights for the pooler, if there is one."""
        if self.pooler is not None:
            std = getattr(self.encoder.config, "initializer_range", 0.02)
            nn.init.normal_(self.pooler.weight, std=std)
            nn.init.zeros_(self.pooler.bias)

    def load_pretrained(self, source: str | Path) -> None:
        """Takes the weights of a pretrained encoder, and of its pooler if it has one.

        Raises:
            ConfigError: The files do not hold the encoder's weights.
        """
        wants_pooler = self.pooler is not None and self.kind.takes_pooler
        weights = pretrained_model(source, pooler=wants_pooler).state_dict()
        pooler = {
            name.removeprefix(POOLER): weights.pop(name)
            for name in list(weights)
            if name.startswith(POOLER)
        }
        self.encoder.load_state_dict(weights)
        if self.pooler is not None and pooler:
            self.pooler.load_state_dict(pooler)

    def set_layout(self, layout: Layout) -> Self:
        """Computes over packed or over padded chunks from now on."""
        super().set_layout(layout)
        if self.kind.packed:
            self.encoder.set_attn_implementation(
                PACKED if layout == "packed" else PADDED
            )
        return self

    def encoder_layers(self) -> nn.ModuleList:
        """The transformer layers, bottom to top."""
        return cast("nn.ModuleList", attrgetter(self.kind.layers)(self.encoder))

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters of the embeddings, then of each layer; the pooler is on top."""
        found = [list(layer.parameters()) for layer in self.encoder_layers()]
        inner = {id(p) for group in found for p in group}
        rest = [
            (name, p)
            for name, p in self.encoder.named_parameters()
            if id(p) not in inner
        ]
        found.insert(0, [p for name, p in rest if not name.startswith("final")])
        found[-1] += [p for name, p in rest if name.startswith("final")]
        if self.pooler is not None:
            found[-1] += self.pooler.parameters()
        return found

    def chunk_vectors(self, pooled: Tensor) -> Tensor:
        """The pooled states, through the pooler if there is one."""
        return pooled if self.pooler is None else torch.tanh(self.pooler(pooled))

    def packed_states(self, text: PackedText) -> Tensor:
        """Token states of packed chunks: T tokens -> [T, width]."""
        if self.layout == "padded" or not self.kind.packed:
            return super().packed_states(text)
        embedded = self.encoder.get_input_embeddings()(text.ids)
        places = text.positions + self.first_position

        def run(embedded: Tensor, places: Tensor, lengths: list[int]) -> Tensor:
            found = self.encoder(
                inputs_embeds=embedded[None], position_ids=places[None], lengths=lengths
            )
            return cast("Tensor", found.last_hidden_state[0])

        # What is computed again on the way back would draw another dropout.
        again = any(
            getattr(layer, "gradient_checkpointing", False)
            for layer in self.encoder.modules()
        )
        if again or self.sharded or not pays(embedded.device, text.lengths):
            return run(embedded, places, text.lengths)
        first = halves(text.lengths)
        lengths = (text.lengths[:first], text.lengths[first:])
        sizes = [sum(part) for part in lengths]
        parts, spots = torch.split(embedded, sizes), torch.split(places, sizes)
        states = run_in_lanes(
            lambda lane, part: run(part, spots[lane], lengths[lane]),
            (parts[0], parts[1]),
            list(self.encoder.parameters()),
            draws=self.training,
        )
        return torch.cat(states)

    def padded_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states of padded chunks: [n, S] -> [n, S, width]."""
        # Expanded to all rows: some kinds take one row of positions, some do not.
        places = torch.arange(ids.shape[1], device=ids.device) + self.first_position
        found = self.encoder(
            input_ids=ids, attention_mask=mask, position_ids=places.expand_as(ids)
        )
        return cast("Tensor", found.last_hidden_state)
