"""One classifier, composed: text encoders x tabular encoder x fusion x head."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tabweave.batches import Batch
from tabweave.models.config import FusionKind, ModelSpec, TextKind
from tabweave.models.fusion import ConcatFusion
from tabweave.models.tabular_encoder import TabularEncoder
from tabweave.models.text_encoders import BertTextEncoder

TEXT_ENCODERS: dict[TextKind, type[BertTextEncoder]] = {"bert": BertTextEncoder}
FUSIONS: dict[FusionKind, type[ConcatFusion]] = {
    "concat": ConcatFusion,
    # A single vector goes through the same hidden layer.
    "none": ConcatFusion,
}


class Classifier(nn.Module):
    """Logits of a batch of rows.

    Args:
        spec: The full description; `tabweave.models.build_model` checks it first.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        config, parts = spec.model, spec.model.architecture
        dropout = 1 - config.dropout_keep
        encoder = TEXT_ENCODERS.get(parts.text)
        self.text = nn.ModuleList(
            encoder(field.encoder, config.pooling) for field in spec.text if encoder
        )
        self.table = (
            TabularEncoder(len(spec.features), config.hidden_common_dim, dropout)
            if parts.table and spec.features
            else None
        )
        widths = [encoder.width for encoder in self.text_encoders]
        widths += [self.table.width] if self.table is not None else []
        fusion = FUSIONS[parts.fusion]
        self.fusion = fusion(widths, config.hidden_common_dim, dropout)
        self.head = nn.Linear(self.fusion.width, len(spec.classes))

    @property
    def text_encoders(self) -> list[BertTextEncoder]:
        """The text encoders, one per field."""
        return [cast("BertTextEncoder", encoder) for encoder in self.text]

    @property
    def vocabularies(self) -> list[int]:
        """Vocabulary size of every text field."""
        return [encoder.vocabulary_size for encoder in self.text_encoders]

    def _logits(self, vectors: list[Tensor], features: Tensor) -> Tensor:
        if self.table is not None:
            vectors = [*vectors, self.table(features)]
        return self.head(self.fusion(vectors))

    def forward(self, batch: Batch) -> Tensor:
        """Logits of packed rows.

        Shape:
            B rows -> [B, classes].
        """
        vectors = [
            encoder(text)
            for encoder, text in zip(self.text_encoders, batch.texts, strict=True)
        ]
        return self._logits(vectors, batch.features)


class PaddedClassifier(nn.Module):
    """The same model over padded tensors, with the softmax inside: what is exported."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.text = nn.ModuleList(e.for_export() for e in model.text_encoders)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities.

        Shape:
            ids and mask [B, C, S] per text field, then features [B, F] when the model
            uses the table -> [B, classes].
        """
        texts = inputs[: 2 * len(self.text)]
        vectors = [
            encoder(ids, mask)
            for encoder, ids, mask in zip(
                self.text, texts[::2], texts[1::2], strict=True
            )
        ]
        features = inputs[-1]
        return torch.softmax(self.model._logits(vectors, features), dim=-1)
