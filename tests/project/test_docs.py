"""docs/parameters.md is what the code says; this file writes it as well.

python tests/project/test_docs.py   prints the page
"""

import ast
import inspect
import json
import re
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.errors import did_you_mean
from tabweave.hooks import STAGES
from tabweave.models.config import ARCHITECTURES
from tabweave.pipeline_registry import register_pipelines
from tabweave.text.config import MINIMAL_STEPS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "parameters.md"
RENEW = "Write it anew: python tests/project/test_docs.py > docs/parameters.md"
FILE_ENDINGS = ("json", "safetensors", "onnx")
HEAD = """\
# All parameters

Every parameter, its default, what it may be, and what it means. A test compares this
page with the code. The defaults are those of the code. Where `conf/base` sets another
value, the default column says so; a run without `--env` uses that one. The group `data`
in `conf/base` describes the demo files, so an environment of your own sets all of it.

Set a parameter in `conf/<env>/parameters.yml`, or for one run with
`kedro run --params=training.max_epochs=5,text.max_sen_len=256`. An unknown name, a wrong
type or an impossible value stops the run before anything is written. [How the files are
merged](../conf/README.md).

`data_dir`, the folder of the train, val and test files, belongs to no group: it stands
in the `globals.yml` of an environment, and `--params=data_dir=<folder>` wins. See
[data](data.md).

Values of `--params` are YAML: `data.text=[title,review]` is a list, and a value that holds
a comma must be in quotes. `None` in a sentence below is `null` in YAML.
"""


def docstrings(kind):
    """Field -> the sentence below it in the source, own fields first."""
    found = {}
    for owner in kind.__mro__:
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found.setdefault(field.target.id, " ".join(text.value.value.split()))
    return found


def models_in(annotation):
    """The parameter classes inside an annotation."""
    parts = [annotation, *getattr(annotation, "__args__", ())]
    return [p for p in parts if inspect.isclass(p) and issubclass(p, BaseModel)]


def yaml_of(value):
    """A value as it is written in one line of YAML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(yaml_of(one) for one in value)}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w/.-]*", value):
        return value
    return json.dumps(value)


def limits(schema):
    """``> 0``, ``0 to 1`` and so on."""
    signs = {
        "exclusiveMinimum": ">",
        "minimum": ">=",
        "exclusiveMaximum": "<",
        "maximum": "<=",
    }
    large = 2**53  # the ends of a number type are no news
    said = [
        f"{sign} {schema[key]}"
        for key, sign in signs.items()
        if key in schema and abs(schema[key]) < large
    ]
    return f" {', '.join(said)}" if said else ""


def allowed(schema, top):
    """What a JSON schema allows, in words."""
    if "$ref" in schema:
        return "the keys below"
    if "anyOf" in schema:
        return ", or ".join(allowed(one, top) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {allowed(schema['items'], top)}"
    if kind == "object":
        return f"column: {allowed(schema['additionalProperties'], top)}"
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
        "null": "`null`",
    }
    return words[kind] + limits(schema)


def rows_of(prefix, kind, base):
    """The table lines of a parameter class and of the classes inside it."""
    schema, said = kind.model_json_schema(), docstrings(kind)
    for name, field in kind.model_fields.items():
        inner = models_in(field.annotation)
        if inner and not isinstance(field.default, tuple):
            yield from rows_of(f"{prefix}.{name}", inner[0], base.get(name) or {})
            continue
        default = "required"
        if not field.is_required():
            default = f"`{yaml_of(field.get_default(call_default_factory=True))}`"
        used = base.get(name)
        if prefix.split(".")[0] != "data" and used is not None:
            same = yaml_of(used) == default.strip("`")
            default += "" if same else f" (`conf/base`: `{yaml_of(used)}`)"
        what = allowed(schema["properties"][name], schema)
        cells = [f"`{prefix}.{name}`", default, what, said[name]]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        if inner:
            yield from rows_of(f"{prefix}.{name}[]", inner[0], {})


def stages_of(group):
    """The stages whose nodes read a parameter group."""
    registered = register_pipelines()
    return [s for s in STAGES if f"params:{group}" in registered[s].inputs()]


def base_values(group):
    """What conf/base sets."""
    found = {}
    for path in sorted((ROOT / "conf" / "base").rglob("parameters.yml")):
        found |= yaml.safe_load(path.read_text(encoding="utf-8")).get(group) or {}
    return found


def page():
    """The whole page."""
    parts = [HEAD]
    for group, kind in PARAMETER_TYPES.items():
        rows = rows_of(group, kind, base_values(group))
        parts.append(
            f"## {group}\n\nRead by the stage {', '.join(stages_of(group))}.\n\n"
            "| parameter | default | may be | meaning |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def test_the_page_lists_every_parameter_with_its_default():
    found = PAGE.read_text(encoding="utf-8").splitlines()
    expected = page().splitlines()
    missing = [line for line in expected if line not in found]
    stray = [line for line in found if line not in expected]
    assert (missing, stray) == ([], []), RENEW
    assert found == expected, RENEW


@pytest.mark.parametrize("group", PARAMETER_TYPES)
def test_every_field_is_named_on_the_page(group):
    text = PAGE.read_text(encoding="utf-8")
    for name, field in PARAMETER_TYPES[group].model_fields.items():
        nested = models_in(field.annotation)
        names = [f"{group}.{name}"]
        if nested and not isinstance(field.default, tuple):
            names = [f"{group}.{name}.{inner}" for inner in nested[0].model_fields]
        for one in names:
            assert f"| `{one}` |" in text


def known_names():
    """Every name that may stand before an '=' in --params, list marks left out."""
    text = PAGE.read_text(encoding="utf-8")
    return {name.replace("[]", "") for name in re.findall(r"^\| `([^`]+)`", text, re.M)}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name
)
def test_parameters_that_a_page_names_exist(path):
    known = known_names()
    groups = "|".join(PARAMETER_TYPES)
    named = re.findall(rf"`((?:{groups})\.[a-z_.]+)`", path.read_text(encoding="utf-8"))
    for name in named:
        parts = name.split(".")
        if parts[-1] in FILE_ENDINGS:
            continue
        inside = any(one.startswith(f"{name}.") for one in known)
        assert name in known or inside, f"{name}.{did_you_mean(name, known)}"


def test_the_defaults_of_the_training_page_are_those_of_the_code():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    there = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \| ([^|]*?) \|", there, re.MULTILINE)
    assert rows
    for name, default in rows:
        assert any(line.startswith(f"| `{name}` | {default} |") for line in lines), name


def test_the_text_page_names_the_steps_of_further_fields():
    text = " ".join((ROOT / "docs" / "text.md").read_text(encoding="utf-8").split())
    assert ", ".join(f"`{step}`" for step in MINIMAL_STEPS) in text


def test_the_readme_lists_the_architectures_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Architectures")[2].partition("\n## ")[0]
    table = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert table == list(ARCHITECTURES)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201


def recipes():
    """The section of CONTRIBUTING.md that says where something new has its place."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("## How to add\n")[1].split("\n## ")[0]
    return " ".join(section.split())


def stands(name, text):
    return re.search(rf"\b{re.escape(name)}\b", text)


def test_the_recipes_name_files_that_are_there():
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.py)`", recipes())
    assert len(named) > 25
    places = (ROOT, ROOT / "src" / "tabweave")
    lost = [name for name in named if not any((at / name).exists() for at in places)]
    assert not lost


def test_the_recipes_name_what_is_in_these_files():
    found = re.findall(
        r"`(\w+)`(?: or `(\w+)`)?(?: in| of|,)? \(?`([\w/]+\.py)`", recipes()
    )
    assert len(found) >= 9
    for *names, path in found:
        text = (ROOT / "src" / "tabweave" / path).read_text("utf-8")
        assert all(stands(name, text) for name in names if name), (names, path)


def test_the_recipes_name_nothing_that_has_gone():
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert not [
        n for n in re.findall(r"`([A-Za-z_]\w*)`", recipes()) if not stands(n, code)
    ]
