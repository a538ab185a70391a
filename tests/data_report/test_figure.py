import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from tabweave.data_report import data_report, data_report_figure
from tabweave.schema import DataSchema


def report_of(classes=2, texts=("t",), columns=2, missing=True, name="column"):
    rng = np.random.default_rng(0)
    rows = 60
    labels = [f"class {n}" for n in range(classes)]
    categorical = tuple(f"{name} c{n}" for n in range(columns))
    numeric = tuple(f"{name} n{n}" for n in range(columns))

    def split(start):
        numbers = rng.random((columns, rows))
        mask = rng.random((columns, rows)) < (0.3 if missing else 0)
        return pa.table(
            {
                "i": [str(n) for n in range(rows)],
                "y": [labels[n % classes] for n in range(rows)],
                **{t: [f"{start} {n} " * (n + 1) for n in range(rows)] for t in texts},
                **{c: [f"k{n % 7}" for n in range(rows)] for c in categorical},
                **{
                    n: pa.array(numbers[k].astype(np.float32), mask=mask[k])
                    for k, n in enumerate(numeric)
                },
            }
        )

    schema = DataSchema(
        id="i", label="y", text=texts, categorical=categorical, numeric=numeric,
        classes=labels, positive_label=labels[-1],
    )  # fmt: skip
    return data_report({s: split(s) for s in ("train", "val", "test")}, schema)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_there_is_a_panel_for_each_question():
    figure = data_report_figure(report_of())
    assert titles(figure) == [
        "Share of each class",
        "Missing cells",
        "Length of t",
        "Distinct categories",
        "AUROC of a column alone on train",
    ]
    assert figure.get_suptitle().startswith(
        "Rows: train 60, val 60, test 60. Findings: "
    )


def test_bars_are_as_long_as_the_report_says():
    report = report_of(classes=3)
    bars = data_report_figure(report).axes[0].patches
    widths = sorted(bar.get_width() for bar in bars)
    shares = [
        s for split in report["splits"].values() for s in split["class_shares"].values()
    ]
    assert widths == pytest.approx(sorted(shares))
    probed = report["leak_probe"]["columns"].values()
    leaks = data_report_figure(report).axes[-1].patches
    found = sorted(bar.get_x() + bar.get_width() for bar in leaks)
    assert found == pytest.approx(sorted(max(0.5, c["auroc"]) for c in probed))


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 37},
        {"texts": ()},
        {"texts": ("title", "body", "answer")},
        {"columns": 0},
        {"columns": 15, "name": "a very long name of a column, $日本"},
        {"missing": False},
    ],
)
def test_every_kind_of_data_can_be_drawn(options):
    figure = data_report_figure(report_of(**options))
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_what_does_not_fit_is_said():
    figure = data_report_figure(report_of(classes=37))
    assert titles(figure)[0] == "Share of each class (10 largest of 37)"


def test_matplotlib_is_not_imported_before_a_figure_is_drawn():
    code = (
        "import sys, tabweave.data_report, tabweave.pipelines.data_loading\n"
        "assert not {'matplotlib', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
