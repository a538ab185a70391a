import pytest

from tabweave.errors import ExportError
from tabweave.export.config import ExportConfig
from tabweave.export.measures.speed import measure_models
from tabweave.export.onnx_model import export_onnx

NAME = "multimodal_bert"


@pytest.fixture(scope="module")
def content(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("speed") / "model.onnx"
    export_onnx(tiny.model(NAME), ExportConfig(), path)
    return path.read_bytes()


def measured(tiny, content, seconds, rows=70):
    return measure_models(
        tiny.model(NAME),
        {"model.onnx": content, "pipeline.onnx": b""},
        (None, tiny.rows(NAME, rows=rows)),
        ExportConfig(timing_seconds=seconds),
    )


def test_every_model_that_is_there_is_measured(tiny, content):
    found = measured(tiny, content, 0.2)
    assert list(found["models"]) == ["PyTorch", "model.onnx"]
    assert found["models"]["model.onnx"]["bytes"] == len(content)
    for one in found["models"].values():
        assert one["given"] == "token ids and features"
        assert 0 < one["p50_ms"] <= one["p95_ms"]
        assert one["rows_per_second"] > 0
        assert one["load_seconds"] > 0
    calls = [one["single_calls"] for one in found["models"].values()]
    assert calls[0] == calls[1] >= 1


def test_without_seconds_there_are_sizes_alone(tiny, content):
    found = measured(tiny, content, 0)
    assert set(found["models"]["PyTorch"]) == {"given", "bytes"}
    assert found["seconds"] == 0


def test_without_a_row_of_val_nothing_can_be_timed(tiny, content):
    with pytest.raises(ExportError, match="val has no row"):
        measured(tiny, content, 0.2, rows=0)
