import io

import pytest
from PIL import Image

from tabweave.export.measures.report import export_figure, export_report

PARITY = {"tolerance": 1e-5, "largest_difference": 2e-7, "rows": 256}
PIPELINE = {
    "refused": None,
    "probabilities": {"mixed": 1e-7, "one by one": 3e-7},
    "tokens": {
        "val": {"texts": 600, "mismatches": 0},
        "code points": {"texts": 150_000, "mismatches": 2},
    },
}
OFF = {"refused": "export.int8 is false."}
INT8 = {
    "refused": None,
    "model.int8.onnx": {"largest_difference": 0.01},
    "pipeline.int8.onnx": {"largest_difference": 0.02},
}
TIMES = {"p50_ms": 4.0, "p95_ms": 9.0, "rows_per_second": 120.0}
TIMES |= {"single_calls": 60, "batch_calls": 7}
NAMES = ("PyTorch", "model.onnx", "pipeline.onnx")


def measured(names=NAMES, times=TIMES):
    models = {
        name: {"bytes": 10**n, "given": "raw rows", **times}
        for n, name in enumerate(names, 5)
    }
    return {"models": models, "batch_rows": 32, "threads": 2}


def test_what_matters_stands_first():
    report = export_report(measured(), PARITY, PIPELINE, INT8)
    assert report["mismatches"] == 2
    assert report["texts"] == 150_600
    assert report["largest_difference"] == {
        "model.onnx": 2e-7,
        "pipeline.onnx": 3e-7,
        "model.int8.onnx": 0.01,
        "pipeline.int8.onnx": 0.02,
    }
    assert report["refused"] == {"pipeline.onnx": None, "int8": None}
    assert report["models"]["model.onnx"]["p50_ms"] == 4.0
    assert report["comparisons"]["pipeline.onnx"] == PIPELINE


def test_what_was_not_made_says_why_and_has_no_figure():
    refused = {"refused": "export.pipeline is false."}
    report = export_report(measured(NAMES[:2]), PARITY, refused, OFF)
    assert report["mismatches"] is None
    assert report["refused"] == {
        "pipeline.onnx": "export.pipeline is false.",
        "int8": "export.int8 is false.",
    }
    assert list(report["largest_difference"]) == ["model.onnx"]


TABLE_ALONE = {"refused": None, "probabilities": {"mixed": 0.0}, "tokens": {}}
CASES = {
    "everything": (measured((*NAMES, *list(INT8)[1:])), PIPELINE, INT8),
    "no int8": (measured(), PIPELINE, OFF),
    "nothing timed": (measured(times={}), PIPELINE, OFF),
    "no pipeline": (measured(NAMES[:2]), {"refused": "It differs."}, OFF),
    "table alone": (measured(), TABLE_ALONE, OFF),
}


@pytest.mark.parametrize("case", CASES)
def test_the_figure_can_be_drawn_and_names_what_was_measured(case):
    times, pipeline, int8 = CASES[case]
    report = export_report(times, PARITY, pipeline, int8)
    figure = export_figure(report)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    assert Image.open(drawn).size[0] > 500
    panels = figure.axes
    assert len(panels) == 4
    sizes = [label.get_text() for label in panels[1].get_yticklabels()]
    assert sizes == [name for name in report["models"]]
    # A difference of 0 has a bar, too.
    assert all(bar.get_width() > 0 for bar in panels[0].patches)
    timed = "p50_ms" in report["models"]["PyTorch"]
    assert len(panels[2].patches) == (len(sizes) if timed else 0)
    given = [label.get_text() for label in panels[2].get_yticklabels()]
    assert not timed or given == [f"{name}\nraw rows" for name in sizes]
