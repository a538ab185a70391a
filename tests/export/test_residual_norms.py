import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

from tabweave.export.config import ExportConfig
from tabweave.export.onnx_model import check_onnx_file, export_onnx, padded_inputs
from tabweave.export.residual_norms import keep_norms_apart

FUSED = "SkipLayerNormalization"


def session(content, folder):
    """A session, and the operators that it really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    # Its report about a file for one machine says nothing here.
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(content, options)
    run = ModelProto.FromString((folder / "optimised.onnx").read_bytes())
    return made, [node.op_type for node in run.graph.node]


@pytest.fixture(scope="module")
def core(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "model.onnx"
    export_onnx(tiny.model("multimodal_bert"), ExportConfig(), path)
    return path.read_bytes()


def test_onnxruntime_leaves_sums_and_norms_apart_and_answers_alike(
    core, tiny, tmp_path
):
    rows, spec = tiny.rows("multimodal_bert"), tiny.model("multimodal_bert").spec
    inputs = padded_inputs(rows.batch(np.arange(16)), spec)
    answers = []
    for content, fused in ((core, True), (keep_norms_apart(core), False)):
        made, operators = session(content, tmp_path)
        assert (FUSED in operators) == fused
        feed = {
            node.name: value.numpy()
            for node, value in zip(made.get_inputs(), inputs, strict=True)
        }
        answers.append(made.run(None, feed)[0])
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-6)


def test_nothing_but_the_sums_before_norms_changes(core, tmp_path):
    before, changed = ModelProto.FromString(core), keep_norms_apart(core)
    after = ModelProto.FromString(changed)
    (tmp_path / "model.onnx").write_bytes(changed)
    check_onnx_file(tmp_path / "model.onnx")
    sums = [n for n in after.graph.node if n.op_type == "Sum"]
    norms = {n.input[0] for n in after.graph.node if n.op_type == "LayerNormalization"}
    assert sums
    assert all(node.output[0] in norms for node in sums)
    for node in sums:
        node.op_type = "Add"
    assert after.SerializeToString() == before.SerializeToString()
    assert keep_norms_apart(changed) == changed
