"""One classifier, composed: text encoders x tabular encoder x fusion x head."""

from __future__ import annotations

from typing import Self, cast

import torch
from torch import Tensor, nn

from tabweave.batching.batches import Batch
from tabweave.models.config import ModelConfig, ModelSpec, TextFieldSpec
from tabweave.models.encoders.text_encoder import EncodedText, Layout, TextEncoder
from tabweave.models.fusion import Fusion, Parts, Widths
from tabweave.models.parts import FUSIONS, NONE, TEXT_ENCODERS
from tabweave.models.tabular_encoder import NumericEmbedding, TabularEncoder


def make_text_encoder(field: TextFieldSpec, model: ModelConfig) -> TextEncoder:
    """The encoder of a text field, new."""
    part = TEXT_ENCODERS[model.architecture.text]
    encoder: TextEncoder = part.load()(field.encoder, getattr(model, part.settings))
    return encoder


class Classifier(nn.Module):
    """Logits of a batch of rows.

    Args:
        spec: The full description; `tabweave.models.build_model` checks it first.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        config, parts = spec.model, spec.model.architecture
        fields = () if parts.text == NONE else spec.text
        self.text = nn.ModuleList(make_text_encoder(field, config) for field in fields)
        self.table = None
        if parts.table and spec.features:
            self.table = TabularEncoder(
                NumericEmbedding(spec.features, config.numeric_embedding, spec.bins),
                config.hidden_common_dim,
                1 - config.dropout_keep,
            )
        widths = Widths(
            texts=tuple(encoder.width for encoder in self.text_encoders),
            table=None if self.table is None else self.table.width,
            features=0 if self.table is None else len(spec.features),
        )
        # A single vector goes through the same hidden layer.
        fusion = FUSIONS["concat" if parts.fusion == NONE else parts.fusion]
        self.fusion: Fusion = fusion.load()(widths, config)
        self.head = nn.Linear(self.fusion.width, len(spec.classes))

    @property
    def text_encoders(self) -> list[TextEncoder]:
        """The text encoders, one per field."""
        return [cast("TextEncoder", encoder) for encoder in self.text]

    @property
    def vocabularies(self) -> list[int]:
        """Vocabulary size of every text field."""
        return [encoder.vocabulary_size for encoder in self.text_encoders]

    @property
    def auxiliary_loss(self) -> Tensor | None:
        """What the last forward pass in training adds to the loss."""
        return self.fusion.auxiliary_loss

    def set_layout(self, layout: Layout) -> Self:
        """Lets the text encoders compute over packed or over padded chunks."""
        for encoder in self.text_encoders:
            encoder.set_layout(layout)
        return self

    def logits(self, texts: list[EncodedText], features: Tensor) -> Tensor:
        """Logits of encoded texts and features [B, F] -> [B, classes]."""
        table = None if self.table is None else self.table(features)
        return self.head(self.fusion(Parts(texts, table, features)))

    def forward(self, batch: Batch) -> Tensor:
        """Logits of packed rows.

        Shape:
            B rows -> [B, classes].
        """
        reads = self.fusion.reads_states
        texts = [
            encoder(text, with_states=reads)
            for encoder, text in zip(self.text_encoders, batch.texts, strict=True)
        ]
        logits = self.logits(texts, batch.features)
        if reads and self.training:
            # The fusion reads words, not these: every weight takes part all the same.
            logits = logits + 0 * sum(text.vectors.sum() for text in texts)
        return logits


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
        count = 2 * len(self.text)
        reads = self.model.fusion.reads_states
        texts = [
            encoder(ids, mask, with_states=reads)
            for encoder, ids, mask in zip(
                self.text, inputs[:count:2], inputs[1:count:2], strict=True
            )
        ]
        return torch.softmax(self.model.logits(texts, inputs[-1]), dim=-1)
