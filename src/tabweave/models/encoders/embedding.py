"""Token embeddings of the small encoders, from a pretrained encoder where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.encoders.transformer_encoder import pretrained_model


class EmbeddingEncoder(TextEncoder):
    """A text encoder that begins with a plain table of token embeddings.

    Args:
        config: Hugging Face configuration whose vocabulary and embedding width it takes.
        width: Width of its token states.
        pooling: See `pool`.
    """

    def __init__(self, config: dict[str, Any], width: int, pooling: str) -> None:
        kind = AutoConfig.for_model(**config)
        pad_id = int(kind.pad_token_id or 0)
        super().__init__(width, int(kind.vocab_size), pad_id, pooling)
        size = getattr(kind, "embedding_size", None) or kind.hidden_size
        self.embeddings = nn.Embedding(self.vocabulary_size, int(size))
        nn.init.normal_(self.embeddings.weight, std=0.1)

    def load_pretrained(self, source: str | Path) -> None:
        """Starts from the word embeddings of a pretrained encoder.

        Raises:
            ConfigError: The files do not hold the encoder's weights.
        """
        found = pretrained_model(source).get_input_embeddings().weight
        with torch.no_grad():
            self.embeddings.weight.copy_(found)
