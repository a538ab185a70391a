import logging

import numpy as np
import pytest

from tabweave.evaluation.predict import predict_probabilities
from tabweave.export.config import ExportConfig, Int8Limits
from tabweave.export.int8.int8_models import export_int8
from tabweave.export.onnx_model import export_onnx, open_session, token_feed

NAME = "multimodal_bert"
WIDE = {"hidden_size": 128, "num_layers": 1, "intermediate_size": 256, "num_heads": 2}
ALL_MAY_PASS = Int8Limits(auroc_drop=1, flips=1, alone_shift=1, min_rows=1)
NONE_MAY_PASS = Int8Limits(auroc_drop=0, flips=0, alone_shift=0, min_rows=97)


def exported(tiny, folder, **scratch):
    model = tiny.model(NAME, scratch=WIDE | scratch)
    path = folder / "model.onnx"
    export_onnx(model, ExportConfig(), path)
    rows = tiny.rows(NAME, rows=96)
    return model, path.read_bytes(), (None, rows, predict_probabilities(model, rows))


@pytest.fixture(scope="module")
def wide(tiny, tmp_path_factory):
    return exported(tiny, tmp_path_factory.mktemp("wide"))


def test_an_accepted_model_is_the_one_whose_figures_are_reported(wide):
    model, core, val = wide
    config = ExportConfig(int8=True, int8_limits=ALL_MAY_PASS)
    made = export_int8((core, b""), model.spec, val, config)
    assert list(made.files) == ["model.int8.onnx"]
    content = made.files["model.int8.onnx"]
    figures = made.report["model.int8.onnx"]
    assert made.report["refused"] is None
    assert figures["bytes"] == len(content) < 0.5 * len(core)
    # The figures are asked for again, of the bytes that would be written.
    _, rows, fp32 = val
    session = open_session(content)
    feed = token_feed(rows, np.arange(len(rows)), model.spec, config)
    found = session.run(["probabilities"], feed)[0]
    assert figures["rows"] == len(rows)
    largest = np.abs(found - fp32).max()
    assert figures["largest_difference"] == pytest.approx(largest, abs=1e-6)
    assert largest > 1e-6, "the comparison would not see the integers"
    flipped = (found.argmax(1) != fp32.argmax(1)).sum()
    assert figures["flipped_rows"] == flipped


def test_a_model_beyond_a_limit_is_refused_with_its_figures(wide, caplog):
    model, core, val = wide
    config = ExportConfig(int8=True, int8_limits=NONE_MAY_PASS)
    with caplog.at_level(logging.WARNING):
        made = export_int8((core, b""), model.spec, val, config)
    assert made.files == {}
    refused = made.report["refused"]
    assert refused.startswith("model.int8.onnx: ")
    assert "val has 96 rows, too few" in refused
    assert refused in caplog.text
    figures = made.report["model.int8.onnx"]
    assert not figures["accepted"]
    assert figures["largest_difference"] > 0
    assert made.report["limits"] == NONE_MAY_PASS.model_dump()


def test_a_model_of_small_matrices_is_refused_by_their_size(tiny, tmp_path):
    model, core, val = exported(tiny, tmp_path, hidden_size=32, intermediate_size=64)
    config = ExportConfig(int8=True, int8_limits=ALL_MAY_PASS)
    made = export_int8((core, b""), model.spec, val, config)
    assert made.files == {}
    assert "has 16,384 values or more" in made.report["refused"]
