import io
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from tabweave.errors import ArtifactError
from tabweave.evaluation.curves import CurveData, pr_figure, roc_figure
from tabweave.schema import DataSchema

FIGURES = [roc_figure, pr_figure]


def schema(*classes):
    return DataSchema(
        id="i", label="y", text=("t",), classes=classes, positive_label=classes[-1]
    )


BINARY = schema("no", "yes")


def split(name, seed, classes=2, rows=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = np.round(rng.normal(size=(rows, classes)), 1)
    logits[np.arange(rows), labels] += 1
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return CurveData(name, probabilities.astype(np.float32), labels)


VAL, TEST = split("val", 0), split("test", 1)


def lines(figure):
    """Start of a line's name in the legend -> the line."""
    (axes,) = figure.axes
    return {line.get_label().partition(":")[0]: line for line in axes.lines}


def legend(figure):
    (box,) = figure.legends
    return [text.get_text() for text in box.get_texts()]


def words(figure):
    (axes,) = figure.axes
    return " ".join([axes.get_title(), *(text.get_text() for text in axes.texts)])


def rendered(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def assert_same_line(line, x, y):
    np.testing.assert_allclose(line.get_xdata(), x, atol=1e-12)
    np.testing.assert_allclose(line.get_ydata(), y, atol=1e-12)


def roc(data, index=1):
    return sk.roc_curve(data.labels == index, data.probabilities[:, index])[:2]


def precision_recall(data, index=1):
    precision, recall, _ = sk.precision_recall_curve(
        data.labels == index, data.probabilities[:, index], drop_intermediate=True
    )
    return recall, precision


def auc(data, index=1):
    return sk.roc_auc_score(data.labels == index, data.probabilities[:, index])


def average_precision(data, index=1):
    return sk.average_precision_score(
        data.labels == index, data.probabilities[:, index]
    )


@pytest.mark.parametrize(
    ("figure_of", "curve", "area", "unit"),
    [
        (roc_figure, roc, auc, "AUC"),
        (pr_figure, precision_recall, average_precision, "AP"),
    ],
)
def test_val_test_baseline_and_chance_are_drawn(figure_of, curve, area, unit):
    baseline = split("other", 2).probabilities
    figure = figure_of([VAL, TEST], BINARY, baseline)
    other = CurveData("", baseline, TEST.labels)
    drawn = lines(figure)
    names = ["val (200 rows)", "test (200 rows)", "logistic regression on test"]
    assert list(drawn) == [*names, "chance"]
    for name, data in zip(names, [VAL, TEST, other], strict=True):
        assert_same_line(drawn[name], *curve(data))
    share = np.mean(TEST.labels == 1)
    chance = 0.5 if unit == "AUC" else share
    assert legend(figure) == [
        *(
            f"{name}: {unit} {area(data):.3f}"
            for name, data in zip(names, [VAL, TEST, other], strict=True)
        ),
        f"chance: {unit} {chance:.3f}",
    ]
    ends = [0, 1] if unit == "AUC" else [share, share]
    assert_same_line(drawn["chance"], [0, 1], ends)
    assert drawn[names[2]].get_linestyle() == "--"
    assert drawn[names[2]].get_linewidth() < drawn[names[1]].get_linewidth()


@pytest.mark.parametrize("figure_of", FIGURES)
def test_without_a_baseline_three_lines_are_drawn(figure_of):
    assert len(lines(figure_of([VAL, TEST], BINARY))) == 3


def test_the_positive_label_is_the_one_of_the_schema():
    other = BINARY.model_copy(update={"positive_label": "no"})
    figure = roc_figure([VAL, TEST], other)
    assert "'no'" in words(figure)
    assert_same_line(lines(figure)["test (200 rows)"], *roc(TEST, 0))


@pytest.mark.parametrize("figure_of", FIGURES)
def test_axes_say_what_they_are(figure_of):
    (axes,) = figure_of([VAL, TEST], BINARY).axes
    assert "fraction of" in axes.get_xlabel()
    assert "fraction of" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("figure_of", "curve", "area"),
    [(roc_figure, roc, auc), (pr_figure, precision_recall, average_precision)],
)
def test_many_classes_give_their_mean_and_ten_thin_lines(figure_of, curve, area):
    classes = [f"c{i}" for i in range(13)]
    val, test = split("val", 0, 13, 900), split("test", 1, 13, 900)
    # c3 occurs in no row of test.
    keep = test.labels != 3
    test = CurveData("test", test.probabilities[keep], test.labels[keep])
    figure = figure_of([val, test], schema(*classes), test.probabilities[::-1])
    drawn = lines(figure)
    present = [i for i in range(13) if i != 3]
    mean = np.mean([area(test, index) for index in present])
    assert f"test ({keep.sum()} rows)" in drawn
    assert any(
        text.endswith(f" {mean:.3f}") and "test (" in text for text in legend(figure)
    )
    counts = np.bincount(test.labels, minlength=13)
    frequent = sorted(present, key=lambda i: (-counts[i], i))[:10]
    thin = [name for name in drawn if name.startswith("'c")]
    assert thin == [f"'c{i}' on test" for i in frequent]
    for index in frequent:
        line = drawn[f"'c{index}' on test"]
        assert_same_line(line, *curve(test, index))
        assert line.get_linewidth() < 1
    assert "10 most frequent of 12 classes shown" in legend(figure)


@pytest.mark.parametrize("figure_of", FIGURES)
def test_the_area_under_the_mean_line_is_the_mean_of_the_areas(figure_of):
    data = split("test", 1, 5, 3000)
    # The first find of each class is a wrong one.
    data.probabilities[data.labels.argsort()[::600]] = np.eye(5)[[1, 2, 3, 4, 0]]
    figure = figure_of([data], schema(*"abcde"))
    line = lines(figure)["test (3,000 rows)"]
    x, y = line.get_xdata(), line.get_ydata()
    if figure_of is roc_figure:
        found, area = np.trapezoid(y, x), auc
    else:
        found, area = -np.sum(np.diff(x) * y[:-1]), average_precision
        curves = [precision_recall(data, index) for index in range(5)]
        first = [precision[recall > 0][-1] for recall, precision in curves]
        assert (x[-1], y[-1]) == (0, pytest.approx(np.mean(first)))
        assert y[-1] < 1
    expected = np.mean([area(data, index) for index in range(5)])
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("figure_of", FIGURES)
@pytest.mark.parametrize("classes", [2, 4])
def test_an_undefined_curve_is_named_in_the_figure(figure_of, classes):
    test = split("test", 1, classes)
    val = CurveData("val", test.probabilities, np.zeros(200, np.int64))
    names = schema(*"abcd"[:classes])
    figure = figure_of([val, test], names, test.probabilities)
    assert "val: no curve, every row has the label 'a'" in words(figure)
    assert "val (200 rows)" not in lines(figure)
    assert "test (200 rows)" in lines(figure)
    empty = CurveData("test", test.probabilities[:0], test.labels[:0])
    figure = figure_of([val, empty], names, empty.probabilities)
    assert "test: no curve, there are no rows" in words(figure)
    assert (figure.legends, lines(figure)) == ([], {})
    assert rendered(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("figure_of", FIGURES)
def test_any_label_can_be_drawn(figure_of):
    labels = ("$x^$", "_hidden", "中文", "a" * 200, "{%\\")
    data = split("test", 1, 5)
    png = rendered(figure_of([data], schema(*labels)))
    assert png == rendered(figure_of([data], schema(*labels)))
    # The last label is the positive one of the title.
    for label in labels:
        rendered(figure_of([VAL], schema("other", label)))


def test_unusable_numbers_are_refused():
    broken = CurveData("test", TEST.probabilities * np.nan, TEST.labels)
    with pytest.raises(ArtifactError, match="from 0 to 1"):
        roc_figure([broken], BINARY)
    with pytest.raises(ArtifactError, match="Labels have shape"):
        roc_figure([TEST], BINARY, TEST.probabilities[1:])


def test_nothing_global_is_left_behind():
    before = "matplotlib.pyplot" in sys.modules
    rendered(roc_figure([VAL, TEST], BINARY))
    assert ("matplotlib.pyplot" in sys.modules) == before
