"""model.onnx: token ids and features in, probabilities out, proven equal to PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from tabweave.batching.batches import Batch, PackedText, Rows, pad
from tabweave.errors import ExportError, WriteError, shorten
from tabweave.export.config import OUTPUT, TABLE, ExportConfig
from tabweave.export.gates.parity_rows import parity_rows
from tabweave.export.residual_norms import keep_norms_apart
from tabweave.models.classifier import Classifier, PaddedClassifier
from tabweave.models.config import ModelSpec
from tabweave.scoring.runtime import session_options
from tabweave.storage.artifacts import naming_the_disk, scratch_folder

logger = logging.getLogger(__name__)

OPSETS = (23, 20)
FAILED = "Failed to export model to ONNX"
_CHECK = """
import sys, onnx
onnx.checker.check_model(sys.argv[1], full_check=True)
"""


@dataclass(frozen=True)
class OnnxExport:
    """An exported model and the proof that it says what PyTorch says."""

    model: bytes
    report: dict[str, Any]


def input_names(spec: ModelSpec, config: ExportConfig) -> list[str]:
    """Names of the graph's inputs, in order."""
    names: list[str] = []
    for number, field in enumerate(spec.text):
        prefix = f"{field.name}_" if number else ""
        names.append(f"{prefix}{config.text_input_ids_key}")
        names.append(f"{prefix}{config.text_attention_mask_key}")
    return [*names, TABLE] if spec.features else names


def padded_inputs(batch: Batch, spec: ModelSpec) -> list[torch.Tensor]:
    """Ids and mask per text field, then the features, as the graph takes them."""
    inputs: list[torch.Tensor] = []
    for text, field in zip(batch.texts, spec.text, strict=True):
        assert isinstance(text, PackedText)  # row vectors are for training alone
        inputs.extend(pad(text, field.pad_id))
    return [*inputs, batch.features] if spec.features else inputs


def token_feed(
    rows: Rows, index: Sequence[int] | np.ndarray, spec: ModelSpec, config: ExportConfig
) -> dict[str, np.ndarray]:
    """What model.onnx is asked about some rows: name of the input -> array."""
    inputs = padded_inputs(rows.batch(np.asarray(index)), spec)
    names = input_names(spec, config)
    return {name: x.numpy() for name, x in zip(names, inputs, strict=True)}


def _dynamic_shapes(spec: ModelSpec) -> tuple[Any, ...]:
    batch = Dim("batch")
    shapes: list[dict[int, Any]] = []
    for number, field in enumerate(spec.text):
        suffix = str(number or "")
        text = {
            0: batch,
            1: Dim(f"chunks{suffix}"),
            2: Dim(f"seq{suffix}", max=field.max_sen_len),
        }
        shapes += [text, dict(text)]
    if spec.features:
        shapes.append({0: batch})
    return (tuple(shapes),)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps and warns about its own internals."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _sample(spec: ModelSpec) -> list[torch.Tensor]:
    """Inputs to trace with: two rows of two chunks, since a size of 1 is a constant."""
    inputs: list[torch.Tensor] = []
    for field in spec.text:
        shape = (2, 2, min(8, field.max_sen_len))
        # Two tensors, not one twice: the exporter takes equal objects for one input.
        inputs.append(torch.ones(shape, dtype=torch.int64))
        inputs.append(torch.ones(shape, dtype=torch.int64))
    return [*inputs, torch.zeros(2, len(spec.features))] if spec.features else inputs


def export_onnx(model: Classifier, config: ExportConfig, path: Path) -> int:
    """Writes the graph to `path`; returns the opset it was written with.

    Raises:
        ExportError: No opset works, or the checker refuses the file.
        WriteError: The disk is full.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    padded = PaddedClassifier(model).eval()
    failures: list[str] = []
    cause: Exception | None = None
    for opset in OPSETS:
        if model.spec.model.architecture.text == "lstm":
            _forget_traced_lstm()
        try:
            with _quiet():
                program = torch.onnx.export(
                    padded,
                    tuple(_sample(model.spec)),
                    dynamo=True,
                    verbose=False,
                    opset_version=opset,
                    input_names=input_names(model.spec, config),
                    output_names=[OUTPUT],
                    dynamic_shapes=_dynamic_shapes(model.spec),
                )
                assert program is not None
                # It holds lines of the source, and the folder where they lie.
                ClearMetadataAndDocStringPass()(program.model)
                with naming_the_disk(path):
                    program.save(path, external_data=False)
            check_onnx_file(path)
        except WriteError:
            raise
        # The exporter raises dozens of kinds of errors, all of which mean the same.
        except Exception as error:  # noqa: BLE001
            cause = error
            failures.append(f"opset {opset}: {type(error).__name__}: {error}")
            logger.warning("Not exported with %s", shorten(failures[-1], 300))
            continue
        return opset
    raise ExportError(f"{FAILED}. " + " | ".join(failures)) from cause


def _forget_traced_lstm() -> None:
    """Lets the exporter see an LSTM as new.

    It swaps in a loop over any number of steps, but a kernel that an earlier export left
    in the operator's cache would unroll the steps of the sample instead.
    """
    torch.ops.aten.lstm.input._dispatch_cache.clear()


def check_onnx_file(path: Path) -> None:
    """Runs the ONNX checker in a process of its own, since it can crash.

    Raises:
        ExportError: The checker refuses the file, or dies.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", _CHECK, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ExportError(
            f"The ONNX checker ended with {done.returncode}: {done.stderr[-2000:]}"
        )


def open_session(content: bytes) -> Any:
    """A session on the CPU, to compare with."""
    import onnxruntime

    return onnxruntime.InferenceSession(
        content, session_options(), providers=["CPUExecutionProvider"]
    )


def check_onnx_content(content: bytes) -> None:
    """The same for a file that is not on the disk yet.

    Raises:
        ExportError: The checker refuses it, or dies.
    """
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        path.write_bytes(content)
        check_onnx_file(path)


def export_model(model: Classifier, val: Rows, config: ExportConfig) -> OnnxExport:
    """Exports, checks and compares with PyTorch on rows of val.

    Raises:
        ExportError: Anything fails; nothing is then written.
    """
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        opset = export_onnx(model, config, path)
        content = keep_norms_apart(path.read_bytes())
    report = compare_with_pytorch(content, model, val, config)
    return OnnxExport(content, {"opset": opset, "bytes": len(content), **report})


def reference_probabilities(
    model: Classifier, rows: Rows, index: Sequence[int] | np.ndarray
) -> np.ndarray:
    """What PyTorch says of some rows, in fp32, all at once: float32 [rows, classes]."""
    with torch.inference_mode():
        logits = model.eval()(rows.batch(np.asarray(index)))
        return np.asarray(torch.softmax(logits, 1).numpy())


def compare_with_pytorch(
    content: bytes, model: Classifier, val: Rows, config: ExportConfig
) -> dict[str, Any]:
    """Largest difference of a probability on rows of val, per batch size.

    The reference is the packed model that training used, in fp32, all rows at once; so
    padding, batch size and export are all inside the comparison.

    Raises:
        ExportError: A difference is larger than the tolerance, or not finite.
    """
    session = open_session(content)
    names = [node.name for node in session.get_inputs()]
    expected_names = input_names(model.spec, config)
    if names != expected_names:
        raise ExportError(f"{FAILED}: its inputs are {names}, not {expected_names}.")
    index = parity_rows(val, config.parity_rows)
    expected = reference_probabilities(model, val, index)
    differences: dict[str, float] = {}
    for size in config.parity_batch_sizes:
        got = np.concatenate(
            [
                session.run([OUTPUT], token_feed(val, part, model.spec, config))[0]
                for part in np.split(index, range(size, len(index), size))
            ]
        )
        differences[str(size)] = float(np.abs(got - expected).max())
    worst = float(np.max(list(differences.values())))  # max() can pass over a NaN
    if not worst <= config.parity_tolerance:
        raise ExportError(
            f"{FAILED}: its probabilities differ from PyTorch by up to {worst:.2e} on "
            f"{len(index)} rows of val (by batch size: {differences}); allowed is "
            f"{config.parity_tolerance:.0e}."
        )
    return {
        "rows": len(index),
        **_too_few_rows(len(index), config),
        "tolerance": config.parity_tolerance,
        "largest_difference": worst,
        "largest_difference_by_batch_size": differences,
        "inputs": names,
        "outputs": [node.name for node in session.get_outputs()],
    }


def _too_few_rows(rows: int, config: ExportConfig) -> dict[str, str]:
    """A note for the report, said once in the log too, when val is smaller than asked."""
    if rows >= config.parity_rows:
        return {}
    note = (
        f"val has {rows} rows, so these were compared instead of "
        f"export.parity_rows = {config.parity_rows}"
    )
    logger.warning("export: %s", note)
    return {"note": note}
