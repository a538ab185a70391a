"""The rival of the speed benchmarks: the Hugging Face Trainer on the same token ids.

A process of its own that does not import tabweave, so that nothing of ours changes its
threads. `benchmarks.training` and `benchmarks.prediction` start it. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler, Subset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "bf16": {"bf16": True},
    "tuned": {"bf16": True, "train_sampling_strategy": "group_by_length"},
}


class TokenRows(Dataset[dict[str, Any]]):
    """Rows of one text field and their labels, in a given order.

    A text without any word is the sequence that the tokenizer makes of nothing.
    """

    def __init__(self, folder: Path, split: str, tokenizer: Any) -> None:
        tokens = pa.ipc.open_file(folder / f"{split}_tokens.arrow").read_all()
        table = pa.ipc.open_file(folder / f"{split}_features.arrow").read_all()
        order = json.loads((folder / f"{split}_order.json").read_text())
        texts, labels = whole_texts(tokens, split), table["label"].to_pylist()
        empty = tokenizer("")["input_ids"]
        self.rows = [
            {"input_ids": texts[n] or empty, "labels": labels[n]} for n in order
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def whole_texts(tokens: pa.Table, split: str) -> list[list[int]]:
    """The token ids of every row, where a row is one text of at most one chunk."""
    if tokens.num_columns != 1:
        raise SystemExit(
            f"The rival reads one text field, but the tokens of {split} have "
            f"{tokens.column_names}. Take an --env with one field."
        )
    rows = tokens.column(0).to_pylist()
    for number, chunks in enumerate(rows):
        if len(chunks) > 1:
            raise SystemExit(
                f"The rival reads one chunk per row, but row {number} of {split} has "
                f"{len(chunks)}. Take an --env with text.max_total_chunks 1."
            )
    return [chunks[0] if chunks else [] for chunks in rows]


def whole_megabatches(rows: int, wanted: int, batch_size: int) -> int:
    """At least `wanted` rows of a grouped order, but no part of a megabatch.

    The library shuffles the rows, cuts them into megabatches of 50 batches (fewer if
    that makes less than four) and sorts each one, longest first. Part of one would be
    its longer rows only.

    Examples:
        >>> whole_megabatches(6400, 1280, 32)
        1600
        >>> whole_megabatches(6400, 1601, 32)
        3200
        >>> whole_megabatches(128, 64, 32), whole_megabatches(100, 90, 32)
        (64, 96)
    """
    megabatch = batch_size * max(1, min(rows // (4 * batch_size), 50))
    return min(-(-wanted // megabatch) * megabatch, rows // batch_size * batch_size)


class InOrder(Trainer):
    """The Trainer, taking rows in the order given unless it groups them by length.

    Attributes:
        tokens: Tokens of every batch that it trained on, padding not counted.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.tokens: list[torch.Tensor] = []

    def training_step(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
        """Counts, and leaves the step as it is."""
        self.tokens.append(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, *given, **more)

    def _get_train_sampler(self, *arguments: Any, **options: Any) -> Any:
        if self.args.train_sampling_strategy == "group_by_length":
            return super()._get_train_sampler(*arguments, **options)
        return SequentialSampler(self.train_dataset)


def head(width: int, options: argparse.Namespace, classes: int) -> nn.Module:
    """The layers that tabweave puts on a text vector: the losses shall be comparable."""
    layers = nn.Sequential(
        nn.Linear(width, options.hidden),
        nn.GELU(),
        nn.Dropout(options.dropout),
        nn.Linear(options.hidden, classes),
    )
    if options.head:
        layers.load_state_dict(load_file(options.head))
    return layers


def arguments(options: argparse.Namespace, folder: str) -> TrainingArguments:
    """One way of the Trainer, with our optimizer, clipping and batch size."""
    steps = options.rows // options.batch_size
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        max_steps=steps,
        learning_rate=options.lr,
        lr_scheduler_type="constant",
        weight_decay=options.weight_decay,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        logging_steps=max(1, steps // 2),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        seed=options.seed,
        **WAYS[options.way],
    )


def trainer(options: argparse.Namespace, folder: str) -> InOrder:
    """The Trainer on the rows of a split, with a model for its classes."""
    tokenizer = AutoTokenizer.from_pretrained(options.encoder)
    rows = TokenRows(options.folder, options.split, tokenizer)
    classes = len(json.loads((options.folder / "classes.json").read_text()))
    given = {"num_labels": classes}
    if options.attention_dropout is not None:
        given["attention_probs_dropout_prob"] = options.attention_dropout
    model = AutoModelForSequenceClassification.from_pretrained(options.encoder, **given)
    model.dropout = nn.Identity()
    model.classifier = head(model.config.hidden_size, options, classes)
    if options.way == "tuned":
        options.rows = whole_megabatches(len(rows), options.rows, options.batch_size)
    return InOrder(
        model=model,
        args=arguments(options, folder),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def train(built: InOrder, batch_size: int) -> dict[str, float]:
    """Trains so many steps: rows, tokens, seconds and the loss of the second half."""
    built.train()
    log = built.state.log_history
    losses = [entry["loss"] for entry in log if "loss" in entry]
    return {
        "rows": built.state.max_steps * batch_size,
        "tokens": int(sum(built.tokens)),
        "seconds": log[-1]["train_runtime"],
        "last_half_loss": losses[-1],
    }


def predict(built: InOrder, rows: int, warm_rows: int) -> dict[str, float]:
    """Predicts the first rows, once the Trainer has prepared itself on a few of them."""
    whole: Any = built.train_dataset
    built.predict(Subset(whole, range(min(warm_rows, len(whole)))))
    timed = whole.rows[:rows]
    started = time.monotonic()
    built.predict(Subset(whole, range(len(timed))))
    seconds = time.monotonic() - started
    tokens = sum(len(row["input_ids"]) for row in timed)
    return {"rows": len(timed), "tokens": tokens, "seconds": seconds}


def main() -> None:
    """Trains or predicts, and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["train", "predict"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--way", choices=WAYS, default="default")
    parser.add_argument("--rows", type=int, required=True, help="rows that are timed")
    parser.add_argument("--warm-rows", type=int, default=64, help="predicted first")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--head", type=Path, help="first weights of the head")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--dropout", type=float, default=0.1, help="of the head")
    parser.add_argument("--seed", type=int, default=0, help="draws of the dropout")
    parser.add_argument(
        "--attention-dropout", type=float, help="another one than the encoder's"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        built = trainer(options, folder)
        if options.task == "train":
            done = train(built, options.batch_size)
        else:
            done = predict(built, options.rows, options.warm_rows)
    seconds = done.pop("seconds")
    done["samples_per_second"] = done["rows"] / seconds
    done["tokens_per_second"] = done.pop("tokens") / seconds
    print(json.dumps(done))


if __name__ == "__main__":
    main()
