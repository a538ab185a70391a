"""Every command of the pages is run by a test or stands in the list of exceptions."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from documentation_fixtures import (
    COMMAND,
    FENCE,
    KINDS,
    PAGES,
    exceptions,
    fences,
    lines_of,
    prose,
    shown_lines,
)
from tabweave.configuration.parameters import check_parameters
from tabweave.schema import DataSchema
from tabweave.tabular import (
    PrecomputedFile,
    precomputed_imputer,
    precomputed_risk_tables,
    select_columns,
)


def name_of(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_says_what_it_is(path):
    """A block without a kind would be one that no test runs."""
    kinds = [block["kind"] for block in FENCE.finditer(path.read_text("utf-8"))]
    assert set(kinds) <= set(KINDS)
    for code in fences(path, "text"):
        assert not [line for line in code.splitlines() if COMMAND.match(line)]
    assert not re.search(rf"^ +{COMMAND.pattern}", prose(path), re.MULTILINE)


def test_no_exception_outlives_its_line():
    assert set(exceptions()) - set(shown_lines()) == set()


def test_every_exception_has_a_reason():
    for line, reason in exceptions().items():
        assert isinstance(reason, str), line
        assert len(reason) > 10, line


def test_comments_and_ends_of_lines_are_no_part_of_a_command():
    block = "make test   # all\nkedro run \\\n    --env=x\n\n# only a comment\n"
    assert lines_of(block) == ["make test", "kedro run --env=x", "# only a comment"]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_parameters_that_a_page_shows_are_valid(path):
    for code in fences(path, "yaml"):
        given = yaml.safe_load(code)
        own = {"data": {"id": "i", "label": "y", "text": ["t"]}}
        check_parameters(own | given)


def test_tables_that_a_page_shows_are_read(root):
    """On rows that have the shares of the risk table."""
    means, risks, chosen = (
        PrecomputedFile(Path("shown.json"), json.loads(code))
        for code in fences(root / "docs" / "precomputed.md", "json")
    )
    schema = DataSchema(
        id="id",
        label="y",
        text=("t",),
        categorical=("seller_id",),
        numeric=tuple(means.value),
        classes=("0", "1"),
        positive_label="1",
    )
    rows = [("S1", 1, 50), ("S2", 31, 100), (None, 2, 40)]  # seller, positives, rows
    sellers = [seller for seller, _, count in rows for _ in range(count)]
    labels = [str(int(n < hits)) for _, hits, count in rows for n in range(count)]
    table = pa.table({"id": range(len(sellers)), "seller_id": sellers, "y": labels})
    table = table.append_column("price", pa.nulls(len(table), pa.float64()))
    table = table.append_column("seller_rating", table["price"])
    assert precomputed_imputer(means, table, schema).to_map() == means.value
    found = precomputed_risk_tables(risks, table, schema)
    assert found.to_map() == risks.value
    assert select_columns(schema, chosen).numeric == ("price",)
