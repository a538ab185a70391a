"""Simple models fitted on the same rows: what the trained model has to beat.

They need no torch. Words go in as TF-IDF of single words and pairs, categories one-hot,
numbers as the tabular stage scaled them and once more as deciles; one logistic
regression sees all of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tabweave.errors import SchemaError
from tabweave.evaluation.config import EvaluationConfig
from tabweave.schema import DataSchema

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

MAX_TERMS = 100_000
# A text has length 1 spread over its words, so a word is far smaller than a number or a
# category is. The weight evens the penalty out, and the solver needs a third of the steps.
TEXT_WEIGHT = 4.0
# Numbers are in standard deviations; a cap keeps a heavy tail from steering the fit.
LARGEST_NUMBER = 5.0
DECILES = np.linspace(0, 1, 11)
INVERSE_PENALTIES = (0.3, 1.0, 3.0)
MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class BaselineInputs:
    """One split as the baselines see it; everything has one entry per row.

    Attributes:
        texts: All text columns of a row, joined by a blank; "" where there is none.
        categorical: Column name -> categories as text; "" is missing.
        numeric: Shape [rows, columns]: imputed and scaled, with missing indicators.
        labels: Shape [rows]: number of the class.
    """

    texts: Sequence[str]
    categorical: Mapping[str, Sequence[str]]
    numeric: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline's answers.

    Attributes:
        name: ``majority`` or ``logistic_regression``.
        probabilities: ``val`` and ``test`` -> float32 [rows, classes].
        train_rows: Rows of train.
        fitted_rows: Rows of them that it was fitted on.
        details: What was settled on val, for the report.
    """

    name: str
    probabilities: dict[str, npt.NDArray[np.float32]]
    train_rows: int
    fitted_rows: int
    details: dict[str, Any] = field(default_factory=dict)


def fit_baselines(
    train: BaselineInputs,
    val: BaselineInputs,
    test: BaselineInputs,
    schema: DataSchema,
    config: EvaluationConfig,
) -> list[Baseline]:
    """Fits every baseline on train, settles its penalty on val, answers val and test.

    Raises:
        SchemaError: The columns of a split differ in length, or train holds one class.
    """
    splits = {"train": train, "val": val, "test": test}
    for name, inputs in splits.items():
        _check(name, inputs, train)
    if len(np.unique(train.labels)) < 2:
        raise SchemaError("A baseline needs at least two classes in train, got one.")
    answered = {"val": val, "test": test}
    return [
        _majority(train, answered, schema),
        _logistic_regression(train, answered, schema, config),
    ]


def _check(name: str, inputs: BaselineInputs, train: BaselineInputs) -> None:
    columns: dict[str, Sized] = {"texts": inputs.texts, "numeric": inputs.numeric}
    columns.update(inputs.categorical)
    rows = len(inputs.labels)
    wrong = {c: len(values) for c, values in columns.items() if len(values) != rows}
    if wrong:
        raise SchemaError(f"{name} has {rows} labels, but other numbers of {wrong}.")
    if list(inputs.categorical) != list(train.categorical):
        raise SchemaError(
            f"{name} has the categorical columns {list(inputs.categorical)}, train has "
            f"{list(train.categorical)}."
        )


def _majority(
    train: BaselineInputs, answered: Mapping[str, BaselineInputs], schema: DataSchema
) -> Baseline:
    """Says the class shares of train about every row."""
    rows = len(train.labels)
    counts = np.bincount(train.labels, minlength=len(schema.classes))
    shares = (counts / rows).astype(np.float32)
    probabilities = {
        split: np.tile(shares, (len(inputs.labels), 1))
        for split, inputs in answered.items()
    }
    return Baseline("majority", probabilities, rows, rows)


def _logistic_regression(
    train: BaselineInputs,
    answered: Mapping[str, BaselineInputs],
    schema: DataSchema,
    config: EvaluationConfig,
) -> Baseline:
    """L2 logistic regression on words, categories and numbers together.

    The strength of the penalty is the one with the lowest log loss on val; it is
    lowered until that loss rises.
    """
    rows = sample_rows(train.labels, config.baseline_max_rows, config.seed)
    fitted = _take(train, rows)
    features = _Features(fitted)
    inputs = {split: features.matrix(given) for split, given in answered.items()}
    best: tuple[float, dict[str, npt.NDArray[np.float32]], dict[str, Any]] | None = None
    for model, converged in _models(features.matrix(fitted), fitted.labels, config):
        probabilities = {
            split: _probabilities(model, matrix, len(schema.classes))
            for split, matrix in inputs.items()
        }
        loss = _log_loss(probabilities["val"], answered["val"].labels)
        if best is not None and loss >= best[0]:
            break
        details = {"C": model.C, "val_log_loss": loss, "converged": converged}
        best = (loss, probabilities, details)
    assert best is not None
    _, probabilities, details = best
    details["features"] = int(inputs["val"].shape[1])
    return Baseline(
        "logistic_regression", probabilities, len(train.labels), len(rows), details
    )


def sample_rows(
    labels: npt.NDArray[np.int64], most: int, seed: int
) -> npt.NDArray[np.int64]:
    """At most about `most` row numbers, in order, with the shares of the classes kept.

    Every class keeps at least one row.

    Example:
        >>> sample_rows(np.array([0, 0, 1, 1]), 10, seed=0).tolist()
        [0, 1, 2, 3]
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        number = max(1, len(rows) * most // len(labels))
        chosen.append(generator.choice(rows, number, replace=False))
    return np.sort(np.concatenate(chosen))


def _take(inputs: BaselineInputs, rows: npt.NDArray[np.int64]) -> BaselineInputs:
    if len(rows) == len(inputs.labels):
        return inputs
    return BaselineInputs(
        texts=[inputs.texts[row] for row in rows],
        categorical={
            name: [values[row] for row in rows]
            for name, values in inputs.categorical.items()
        },
        numeric=inputs.numeric[rows],
        labels=inputs.labels[rows],
    )


class _Features:
    """Words, categories and numbers as one sparse matrix, fitted on train."""

    def __init__(self, train: BaselineInputs) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import OneHotEncoder

        words = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=MAX_TERMS
        )
        # Without any term in two rows, fitting would be an error of scikit-learn's.
        self.words = None
        if _has_repeated_term(train.texts, words.build_analyzer()):
            self.words = words.fit(train.texts)
        self.categories = None
        if train.categorical:
            encoder = OneHotEncoder(handle_unknown="ignore")
            self.categories = encoder.fit(_category_matrix(train))
        self.deciles = [
            np.unique(np.quantile(column, DECILES, method="inverted_cdf"))
            for column in train.numeric.T
        ]

    def matrix(self, inputs: BaselineInputs) -> csr_matrix:
        """Shape [rows, features]."""
        from scipy import sparse

        numbers = np.clip(inputs.numeric, -LARGEST_NUMBER, LARGEST_NUMBER)
        parts = [sparse.csr_matrix(numbers.astype(np.float64))]
        for column, edges in zip(inputs.numeric.T, self.deciles, strict=True):
            decile = np.minimum(np.searchsorted(edges, column), len(edges) - 1)
            parts.append(sparse.identity(len(edges), format="csr")[decile])
        if self.words is not None:
            parts.append(TEXT_WEIGHT * self.words.transform(inputs.texts))
        if self.categories is not None:
            parts.append(self.categories.transform(_category_matrix(inputs)))
        matrix = sparse.hstack(parts, format="csr")
        if matrix.shape[1] == 0:
            # Nothing to go by: one column of zeros leaves the class shares.
            return sparse.csr_matrix((len(inputs.labels), 1))
        return matrix


def _has_repeated_term(
    texts: Sequence[str], analyze: Callable[[str], Iterable[str]]
) -> bool:
    seen: set[str] = set()
    for text in texts:
        terms = set(analyze(text))
        if not seen.isdisjoint(terms):
            return True
        seen |= terms
    return False


def _category_matrix(inputs: BaselineInputs) -> npt.NDArray[np.object_]:
    columns = [np.asarray(v, dtype=object) for v in inputs.categorical.values()]
    return np.stack(columns, axis=1)


def _models(
    matrix: csr_matrix, labels: npt.NDArray[np.int64], config: EvaluationConfig
) -> Iterator[tuple[LogisticRegression, bool]]:
    """The model at each strength of the penalty, each started from the one before.

    The flag says whether the solver came to its end.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        max_iter=MAX_ITERATIONS, warm_start=True, random_state=config.seed
    )
    for strength in INVERSE_PENALTIES:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # What it would say is in the report instead, as `converged`.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, labels)
        yield model, bool(model.n_iter_.max() < MAX_ITERATIONS)


def _probabilities(
    model: LogisticRegression, matrix: csr_matrix, classes: int
) -> npt.NDArray[np.float32]:
    """Shape [rows, classes]; a class that train never showed has probability 0."""
    found = np.zeros((matrix.shape[0], classes), np.float32)
    if matrix.shape[0]:
        found[:, model.classes_] = model.predict_proba(matrix)
    return found


def _log_loss(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Mean negative log probability of the true class; 0 for a split without rows."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, 1e-12)).sum() / max(1, len(labels)))
