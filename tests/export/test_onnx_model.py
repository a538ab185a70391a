import itertools
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models_fixtures import (
    CLS,
    FEATURES,
    MAX_SEN_LEN,
    MAX_TOTAL_CHUNKS,
    SEP,
    WITH_CLASSES,
    write_features,
    write_tokens,
)
from tabweave.batching.batches import Rows
from tabweave.errors import ExportError
from tabweave.export import onnx_model
from tabweave.export.config import ExportConfig
from tabweave.export.onnx_model import (
    check_onnx_file,
    compare_with_pytorch,
    export_model,
    export_onnx,
    input_names,
    padded_inputs,
)
from tabweave.models.classifier import Classifier
from tabweave.models.config import ARCHITECTURES

CONFIG = ExportConfig(parity_rows=40)
ONE_LAYER = {
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 32,
}
TOLERANCE = 1e-5


@dataclass
class Exported:
    """A model, its rows, and its ONNX file ready to run."""

    model: Classifier
    rows: Any
    content: bytes
    report: dict

    def __post_init__(self):
        self.session = onnxruntime.InferenceSession(self.content)
        self.inputs = {node.name: node.shape for node in self.session.get_inputs()}

    def run(self, inputs):
        feed = {n: x.numpy() for n, x in zip(self.inputs, inputs, strict=True)}
        return self.session.run(["probabilities"], feed)[0]

    def of_onnx(self, index):
        return self.run(padded_inputs(self.rows.batch(index), self.model.spec))

    def of_torch(self, index):
        with torch.inference_mode():
            return torch.softmax(self.model(self.rows.batch(index)), 1).numpy()


# An export takes ten seconds and more: either number of classes, not both.
CASES = [case.values for case in WITH_CLASSES if not case.marks]


@pytest.fixture(scope="module", params=CASES, ids="{0[0]}-{0[1]}".format)
def exported(request, tiny):
    """Every architecture, binary and multiclass, exported once."""
    name, classes = request.param
    model = tiny.model(name, classes, scratch=ONE_LAYER)
    rows = tiny.rows(name, classes=classes)
    made = export_model(model, rows, CONFIG)
    return Exported(model, rows, made.model, made.report)


def close(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    return True


def test_it_says_what_pytorch_says_at_every_batch_size(exported):
    whole = exported.of_torch(np.arange(48))
    assert whole.std(0).min() > 0.01  # rows differ
    for size in (1, 2, 5, 48):
        parts = np.split(np.arange(48), range(size, 48, size))
        assert close(np.concatenate([exported.of_onnx(p) for p in parts]), whole)


def test_it_says_what_pytorch_says_of_rows_without_text_and_with_most(exported):
    counts = [
        np.diff(column.row_offsets) for column in exported.rows.columns
    ]  # chunks of every row
    kinds = [*itertools.product((0, 1, MAX_TOTAL_CHUNKS), repeat=len(counts))]
    for kind in kinds:
        alike = [c == wanted for c, wanted in zip(counts, kind, strict=True)]
        index = np.flatnonzero(np.all(alike, axis=0)) if alike else np.arange(3)
        if len(index):
            assert close(exported.of_onnx(index), exported.of_torch(index))
            first = index[:1]
            assert close(exported.of_onnx(first), exported.of_torch(first))


def test_more_padding_changes_nothing(exported):
    batch = exported.rows.batch(np.arange(12))
    inputs = padded_inputs(batch, exported.model.spec)
    texts, table = inputs[: 2 * len(batch.texts)], inputs[2 * len(batch.texts) :]
    wider = []
    for tensor in texts:
        room = (
            0,
            MAX_SEN_LEN - tensor.shape[2],
            0,
            MAX_TOTAL_CHUNKS + 1 - tensor.shape[1],
        )
        wider.append(torch.nn.functional.pad(tensor, room))
    assert close(exported.run([*wider, *table]), exported.of_torch(np.arange(12)))


def test_the_file_says_nothing_of_the_machine_that_made_it(exported):
    assert b".py" not in exported.content
    assert b"tabweave" not in exported.content


def test_the_inputs_and_outputs_are_as_documented(exported):
    names = input_names(exported.model.spec, CONFIG)
    assert list(exported.inputs) == names
    for name, shape in exported.inputs.items():
        assert isinstance(shape[0], str)  # any number of rows
        assert len(shape) == (2 if name == "tab" else 3)
        if name == "tab":
            assert shape[1] == len(FEATURES)
        else:
            assert all(isinstance(size, str) for size in shape)
    (output,) = exported.session.get_outputs()
    assert output.name == "probabilities"
    assert output.shape[1] == len(exported.model.spec.classes)
    kinds = {node.name: node.type for node in exported.session.get_inputs()}
    assert set(kinds.values()) <= {"tensor(int64)", "tensor(float)"}


def test_the_report_has_the_figures(exported):
    report = exported.report
    differences = report["largest_difference_by_batch_size"]
    assert set(differences) == {"1", "7", "32"}
    assert report["largest_difference"] == max(differences.values()) <= TOLERANCE
    assert (report["rows"], report["tolerance"]) == (40, TOLERANCE)
    assert report["opset"] in onnx_model.OPSETS
    assert report["bytes"] == len(exported.content)
    assert report["inputs"] == list(exported.inputs)
    assert report["outputs"] == ["probabilities"]


def test_other_weights_than_the_file_s_are_an_error_with_figures(exported):
    with torch.no_grad():
        exported.model.head.bias[0] += 0.01
    try:
        with pytest.raises(
            ExportError, match=r"Failed to export .* differ .* by up to"
        ):
            compare_with_pytorch(
                exported.content, exported.model, exported.rows, CONFIG
            )
    finally:
        with torch.no_grad():
            exported.model.head.bias[0] -= 0.01


@pytest.fixture(scope="module")
def table_only(tiny):
    model, rows = tiny.model("tabular"), tiny.rows("tabular")
    made = export_model(model, rows, CONFIG)
    return Exported(model, rows, made.model, made.report)


def test_the_message_names_difference_rows_sizes_and_tolerance(table_only):
    strict = ExportConfig(
        parity_rows=20, parity_batch_sizes=(1, 3), parity_tolerance=1e-30
    )
    with pytest.raises(ExportError) as caught:
        compare_with_pytorch(
            table_only.content, table_only.model, table_only.rows, strict
        )
    message = str(caught.value)
    for part in ("20 rows of val", "{'1': ", "'3': ", "allowed is 1e-30"):
        assert part in message


def not_a_number_at(content, size, of=None, axis=0):
    """The same graph, but NaN where an axis has this size: + 0 / (found - wanted).

    The axis is one of the input `of`, or of the output: axis 0 of it are the rows.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    (output,) = graph.output
    inner = f"{output.name}_inner"
    for node in graph.node:
        node.output[:] = [
            inner if name == output.name else name for name in node.output
        ]
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([axis], np.int64), "nan_axis"),
            numpy_helper.from_array(np.array([size], np.float32), "nan_wanted"),
            numpy_helper.from_array(np.array([0], np.float32), "nan_zero"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Shape", [of or inner], ["nan_shape"]),
            helper.make_node("Gather", ["nan_shape", "nan_axis"], ["nan_count"]),
            helper.make_node(
                "Cast", ["nan_count"], ["nan_found"], to=TensorProto.FLOAT
            ),
            helper.make_node("Sub", ["nan_found", "nan_wanted"], ["nan_gap"]),
            helper.make_node("Div", ["nan_zero", "nan_gap"], ["nan_nothing"]),
            helper.make_node("Add", [inner, "nan_nothing"], [output.name]),
        ]
    )
    return model.SerializeToString()


def test_a_result_that_is_no_number_is_an_error_at_any_batch_size(table_only):
    model, rows = table_only.model, table_only.rows
    compare_with_pytorch(not_a_number_at(table_only.content, 999), model, rows, CONFIG)
    for size in CONFIG.parity_batch_sizes:
        content = not_a_number_at(table_only.content, size)
        with pytest.raises(ExportError, match="by up to nan"):
            compare_with_pytorch(content, model, rows, CONFIG)


def test_only_the_rows_there_are_compared_and_that_is_said(table_only, caplog):
    config = ExportConfig(parity_rows=5000, parity_batch_sizes=(100,))
    report = compare_with_pytorch(
        table_only.content, table_only.model, table_only.rows, config
    )
    assert report["rows"] == 48
    assert "val has 48 rows" in report["note"]
    assert "export.parity_rows = 5000" in report["note"]
    (line,) = [r for r in caplog.records if r.name == onnx_model.__name__]
    assert line.levelno == logging.WARNING
    assert report["note"] in line.getMessage()


def test_nothing_is_noted_when_val_has_all_the_rows(table_only, caplog):
    config = ExportConfig(parity_rows=48)
    report = compare_with_pytorch(
        table_only.content, table_only.model, table_only.rows, config
    )
    assert report["rows"] == 48
    assert "note" not in report
    assert not caplog.records


def test_an_export_that_is_wrong_for_the_last_row_alone_is_an_error(tiny, tmp_path):
    """Here the one with most chunks; it is compared, however few rows are."""
    model = tiny.model("bert", scratch=ONE_LAYER)
    export_onnx(model, CONFIG, tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    chunk = [CLS, 50, SEP]
    review = [*[[chunk]] * 60, [chunk] * MAX_TOTAL_CHUNKS]
    tokens = write_tokens(tmp_path / "t.arrow", {"review": review})
    features = write_features(
        tmp_path / "f.arrow", np.zeros((61, len(FEATURES))), [0] * 61
    )
    rows = Rows(tokens, features, ("review",))
    config = ExportConfig(parity_rows=12, parity_batch_sizes=(1,))
    compare_with_pytorch(content, model, rows, config)
    wrong = not_a_number_at(content, MAX_TOTAL_CHUNKS, "input_ids", axis=1)
    with pytest.raises(ExportError, match="by up to nan"):
        compare_with_pytorch(wrong, model, rows, config)


def test_a_file_with_other_inputs_is_an_error(table_only, tiny):
    with pytest.raises(ExportError, match=r"inputs are \['tab'\], not \['input_ids'"):
        compare_with_pytorch(
            table_only.content, tiny.model("bert"), tiny.rows("bert"), CONFIG
        )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_input_names_follow_the_configuration(tiny, name):
    config = ExportConfig(text_input_ids_key="ids", text_attention_mask_key="mask")
    parts = ARCHITECTURES[name]
    fields = len(tiny.spec(name).text)
    expected = ["ids", "mask", "title_ids", "title_mask"][: 2 * fields]
    expected += ["tab"] if parts.table else []
    assert input_names(tiny.spec(name), config) == expected


@pytest.mark.parametrize(("chunks", "length"), [(1, 12), (2, 3)])
def test_fields_of_one_chunk_or_of_short_chunks_can_be_exported(
    tiny, tmp_path, chunks, length
):
    spec = tiny.spec("bert", scratch=ONE_LAYER)
    limits = {"max_total_chunks": chunks, "max_sen_len": length}
    (field,) = spec.text
    spec = spec.model_copy(update={"text": (field.model_copy(update=limits),)})
    model = Classifier(spec).eval()
    config = ExportConfig(text_input_ids_key="ids", text_attention_mask_key="mask")
    export_onnx(model, config, tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    made = Exported(model, tiny.rows("bert"), content, {})
    assert list(made.inputs) == ["ids", "mask"]
    counts = np.diff(made.rows.columns[0].row_offsets)
    for index in (np.flatnonzero(counts <= 1), np.array([0]), np.array([1])):
        assert close(made.of_onnx(index), made.of_torch(index))


class Unexportable(torch.nn.Module):
    def forward(self, features):
        raise ArithmeticError("no graph for this")


def test_what_cannot_be_exported_is_an_error_for_every_opset(tiny, tmp_path):
    model = tiny.model("tabular")
    model.table = Unexportable()
    with pytest.raises(ExportError) as caught:
        export_onnx(model, CONFIG, tmp_path / "m.onnx")
    message = str(caught.value)
    assert message.startswith("Failed to export model to ONNX. opset 23: ")
    assert "| opset 20: " in message
    assert "no graph for this" in message


def damaged(content):
    model = onnx.load_from_string(content)
    model.graph.node[0].op_type = "NoSuchOperator"
    return model.SerializeToString()


@pytest.mark.parametrize("content", [b"", b"no graph at all", damaged])
def test_a_file_that_the_checker_refuses_is_an_error(table_only, tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content if content != damaged else damaged(table_only.content))
    with pytest.raises(ExportError, match=r"checker ended with 1: (?s:.*)Error"):
        check_onnx_file(path)


def test_a_good_file_passes_the_checker(table_only, tmp_path):
    (tmp_path / "m.onnx").write_bytes(table_only.content)
    check_onnx_file(tmp_path / "m.onnx")


def test_a_checker_that_dies_does_not_take_us_along(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_CHECK", "import os; os.abort()")
    with pytest.raises(ExportError, match="checker ended with -6"):
        check_onnx_file(tmp_path / "m.onnx")


def test_a_checker_that_refuses_ends_the_export(tiny, monkeypatch):
    monkeypatch.setattr(onnx_model, "_CHECK", "raise SystemExit('refused')")
    with pytest.raises(ExportError, match=r"opset 23: ExportError: .*refused"):
        export_model(tiny.model("tabular"), tiny.rows("tabular"), CONFIG)


def test_exporting_says_nothing_and_leaves_the_logging_as_it_was(tiny, tmp_path, capfd):
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = [logging.getLogger(name).level for name in names]
    export_onnx(tiny.model("tabular"), CONFIG, tmp_path / "m.onnx")
    assert [logging.getLogger(name).level for name in names] == before
    assert capfd.readouterr() == ("", "")


def test_the_file_is_one_file(tiny, tmp_path):
    export_onnx(tiny.model("tabular"), CONFIG, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
