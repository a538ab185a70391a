from __future__ import annotations

from tabweave.evaluation.summary import summary_lines


def test_model_stands_first_and_baselines_beside_it():
    lines = summary_lines(
        {
            "baseline/majority/test/auroc": 0.5,
            "baseline/logistic_regression/test/auroc": 0.8,
            "test/auroc": 0.9,
            "val/auroc": 0.85,
        }
    )
    assert [line[:26].split() for line in lines[1:]] == [
        ["val", "model"],
        ["test", "model"],
        ["test", "logistic", "regression"],
        ["test", "majority"],
    ]
    assert [line.split()[-1] for line in lines[1:]] == [
        "0.8500",
        "0.9000",
        "0.8000",
        "0.5000",
    ]


def test_metrics_of_single_classes_are_left_to_the_file():
    lines = summary_lines({"test/auroc": 0.9, "test/average_precision/1": 0.3})
    assert len(lines) == 2
    assert "0.3" not in lines[1]


def test_an_undefined_metric_is_called_undefined_and_not_zero():
    lines = summary_lines({"test/auroc": None, "test/accuracy": 1.0})
    assert lines[1].split() == ["test", "model", "undefined", "1.0000"]


def test_columns_line_up_under_their_names():
    lines = summary_lines({"test/auroc": 0.9, "test/average_precision": 0.25})
    assert lines[0].endswith("avg prec")
    assert len(lines[0]) == len(lines[1])
