import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preparation_fixtures import TABLE, preparation, session_of
from tabweave.export.graph.graph_builder import FLOAT, STRING, Graph
from tabweave.export.graph.table_graph import prepare_table
from tabweave.preparation.features import (
    feature_sources,
)
from tabweave.preparation.reference import reference_features

PREPARED = preparation()
NAMES = (*feature_sources(PREPARED.schema, PREPARED.imputer, PREPARED.risk_tables),)
singles = st.floats(width=32, allow_infinity=False)


def session(features, **tabular):
    prepared = preparation((), features=features, **tabular)
    graph = Graph()
    columns = {
        name: graph.input(name, FLOAT if kind == "numeric" else STRING)
        for name, kind in prepared.columns()
    }
    found = prepare_table(graph, prepared, columns)
    graph.output(found, "tab", FLOAT, ["batch", len(features)])
    return prepared, session_of(graph)


def bits(values):
    return np.ascontiguousarray(values).view(np.uint32).tolist()


def table_of(shop, plan, price, age):
    return pa.table(
        {
            "shop": pa.array(shop, pa.string()),
            "plan": pa.array(plan, pa.string()),
            "price": pa.array(price, pa.float32()),
            "age": pa.array(age, pa.float32()),
        }
    )


def compare(prepared, running, table):
    feed = {}
    for name, kind in prepared.columns():
        values = table.column(name)
        feed[name] = (
            values.to_numpy().astype(np.float32)
            if kind == "numeric"
            else np.array([value or "" for value in values.to_pylist()], object)
        )
    (found,) = running.run(None, feed)
    assert bits(found) == bits(reference_features(prepared, table))


ALL = session(NAMES)
ROW = st.tuples(
    st.sampled_from(["de", "fr", "", None, "never seen", "DE"]),
    st.sampled_from(["a", "b", "c", "", None, "a\0"]),
    st.one_of(st.none(), singles),
    st.one_of(st.none(), singles),
)


@settings(max_examples=150)
@given(st.lists(ROW, min_size=1, max_size=9))
def test_equals_the_tabular_stage_to_the_bit(rows):
    compare(*ALL, table_of(*zip(*rows, strict=True)))


@pytest.mark.parametrize(
    "features",
    [
        NAMES[::-1],
        ("num:age",),
        ("missing:price",),
        ("cat:shop:yes",),
        ("cat:shop:yes", "cat:plan:no", "cat:shop:maybe"),
        ("missing:price", "num:price", "cat:plan:no", "num:age"),
    ],
)
def test_any_choice_and_order_of_features(features):
    compare(*session(features), TABLE)


@pytest.mark.parametrize("missing_indicators", ["always", "never"])
def test_other_indicators(missing_indicators):
    prepared = preparation(missing_indicators=missing_indicators)
    names = tuple(
        feature_sources(prepared.schema, prepared.imputer, prepared.risk_tables)
    )
    assert ("missing:age" in names) == (missing_indicators == "always")
    compare(*session(names, missing_indicators=missing_indicators), TABLE)


def test_a_missing_category_is_not_an_unseen_one():
    prepared, running = session(("cat:shop:no",))
    feed = {"shop": np.array(["", "never seen"], object)}
    (found,) = running.run(None, feed)
    shown = prepared.risk_tables.columns["shop"]
    assert shown.bins[""] != shown.default
    assert found[0] != found[1]
