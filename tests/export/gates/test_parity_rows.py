import numpy as np
import pytest

from models_fixtures import (
    CLS,
    FEATURES,
    MAX_TOTAL_CHUNKS,
    SEP,
    write_features,
    write_tokens,
)
from tabweave.batching.batches import Rows
from tabweave.export.gates.parity_rows import OF_EACH_KIND, parity_rows

ROWS = 400


@pytest.fixture
def rows(tiny):
    return tiny.rows("trimodal_bert", rows=ROWS)


def with_extremes_behind(folder):
    """Many equal rows, and behind them one row of each kind."""
    plain, long = [[CLS, 50, SEP]], [[CLS, *range(50, 59), SEP]] * 2
    most = [[CLS, SEP]] * MAX_TOTAL_CHUNKS
    review = [*[plain] * 100, [], long, most, plain, plain, plain, []]
    title = [*[plain] * 100, plain, plain, plain, [], long, most, []]
    tokens = write_tokens(folder / "t.arrow", {"review": review, "title": title})
    labels = [0] * len(review)
    values = np.zeros((len(labels), len(FEATURES)))
    features = write_features(folder / "f.arrow", values, labels)
    return Rows(tokens, features, ("review", "title"))


def test_the_only_row_of_each_kind_is_found_at_the_end_of_the_file(tmp_path):
    rows = with_extremes_behind(tmp_path)
    chosen = parity_rows(rows, 32)
    assert set(range(100, 107)) <= set(chosen.tolist())
    # What is left is filled up in the order of the file.
    rest = [row for row in chosen.tolist() if row < 100]
    assert rest == list(range(len(rest)))


@pytest.mark.parametrize("field", [0, 1])
def test_extremes_of_every_field_are_among_them(rows, field):
    column = rows.columns[field]
    chosen = parity_rows(rows, 40)
    chunks, tokens = np.diff(column.row_offsets), column.token_counts()
    assert (chunks[chosen] == 0).sum() >= OF_EACH_KIND
    assert (chunks[chosen] == chunks.max()).sum() >= OF_EACH_KIND
    longest = np.sort(tokens)[-OF_EACH_KIND:]
    np.testing.assert_array_equal(np.sort(tokens[chosen])[-OF_EACH_KIND:], longest)


@pytest.mark.parametrize("most", [1, 2, 7, 40, ROWS, 5 * ROWS])
def test_they_are_distinct_in_order_as_many_as_asked_and_always_the_same(rows, most):
    chosen = parity_rows(rows, most)
    assert len(chosen) == min(most, ROWS)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, parity_rows(rows, most))


def test_a_model_without_text_compares_the_first_rows(tiny):
    rows = tiny.rows("tabular", rows=ROWS)
    assert parity_rows(rows, 7).tolist() == list(range(7))
