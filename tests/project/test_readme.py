import ast
import pydoc
import re
import tomllib
from pathlib import Path

import pytest

from tabweave.models.config import ARCHITECTURES, CUSTOM

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "conf" / "README.md",
        ROOT / "data" / "README.md",
    ]
)
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


def name_of(path):
    return str(path.relative_to(ROOT))


def prose(text):
    """A page without its code."""
    return FENCE.sub("", text)


def targets_of_the_makefile():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def anchors(path):
    """The names of a page's headings in links."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text("utf-8")), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_fits_on_few_screens(readme):
    assert len(readme.splitlines()) <= 120


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_make_targets_that_a_page_names_exist(path):
    text = path.read_text(encoding="utf-8")
    # In prose only what stands in code is a command: people make sure, too.
    code = "\n".join(m["code"] for m in FENCE.finditer(text))
    code += "\n".join(re.findall(r"`([^`\n]+)`", prose(text)))
    named = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert named <= targets_of_the_makefile()


def test_the_readme_names_the_commands_of_a_fresh_clone(readme):
    for command in (
        "make run",
        "make test",
        "kedro run",
        "kedro run --pipelines=train",
        "kedro viz run",
        "tabweave init",
        "kedro run --env=",
        "--params=text.encoder=",
    ):
        assert command in readme, command


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pipelines_and_environments_that_a_page_names_exist(path, pipelines):
    text = path.read_text(encoding="utf-8")
    for names in re.findall(r"--pipelines=([a-z,]+)", text):
        assert set(names.split(",")) <= set(pipelines), names
    environments = {folder.name for folder in (ROOT / "conf").iterdir()}
    for name in re.findall(r"--env=([a-z_]+)", text):
        assert name in environments, name


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(path):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8")))
    for link in links:
        if link.startswith(("http:", "https:")):
            continue
        file, _, heading = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def linked_from(path):
    """Files that a page links to."""
    links = re.findall(r"\]\(([^)#\s]+)", prose(path.read_text(encoding="utf-8")))
    return {(path.parent / link).resolve() for link in links}


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        new = {p for page in new for p in linked_from(page) & set(PAGES)} - reached
    assert set(PAGES) - reached == set()


def test_the_readme_tells_the_extras_that_exist(readme):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    section = readme.partition("## Extras")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if "|" in line]
    named = set(re.findall(r"`(\w+)`", " ".join(cells[1:])))
    assert named == set(project["project"]["optional-dependencies"])


def test_the_readme_tells_the_architectures_as_the_code_does(readme):
    section = readme.partition("## Architectures")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    told = {name.strip("`"): rest for name, *rest in rows}
    assert list(told) == list(ARCHITECTURES)
    for name, kind in ARCHITECTURES.items():
        parts = [kind.text, kind.fusion.replace("_", " ")]
        parts = "any" if name == CUSTOM else ", ".join(p for p in parts if p != "none")
        fields = "any" if kind.fields is None else str(kind.fields)
        assert told[name] == [parts or "none", fields, kind.use], name


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_snippets_compile(path):
    text = path.read_text(encoding="utf-8")
    found = [m for m in FENCE.finditer(text) if m["kind"] == "python"]
    for snippet in found:
        ast.parse(snippet["code"], filename=name_of(path))


def names_of_the_package(text):
    """Dotted names of the package on a page, those that its snippets import, too."""
    yield from re.findall(r"(?<![\w/.-])tabweave(?:\.[A-Za-z_]\w*)+(?!\.gz)\b", text)
    for snippet in FENCE.finditer(text):
        if snippet["kind"] == "python":
            for node in ast.walk(ast.parse(snippet["code"])):
                if isinstance(node, ast.ImportFrom) and not node.level:
                    yield from (f"{node.module}.{one.name}" for one in node.names)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_names_of_the_package_on_a_page_exist(path):
    # Snippets import from other packages as well.
    names = [
        name
        for name in names_of_the_package(path.read_text(encoding="utf-8"))
        if name.startswith("tabweave.")
    ]
    assert [name for name in names if pydoc.locate(name) is None] == []


def test_the_check_of_names_can_fail():
    code = "from tabweave.tables.files import nothing"
    page = f"`tabweave.tables.lookup.no`\n```python\n{code}\n```\n"
    names = list(names_of_the_package(page))
    assert {"tabweave.tables.lookup.no", "tabweave.tables.files.nothing"} <= set(names)
    assert pydoc.locate("tabweave.tables.lookup.no") is None
    assert pydoc.locate("tabweave.tables.files.nothing") is None


def test_data_names_every_file_that_a_stage_writes():
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    catalogs = (ROOT / "conf" / "base").glob("*/catalog.yml")
    text = "\n".join(path.read_text(encoding="utf-8") for path in catalogs)
    written = re.findall(r"\$\{layer:\w+\}/([^}\s]*?(?:\{split\})?[\w.]+)", text)
    assert len(written) > 30
    for name in written:
        stem = name.removeprefix("{split}").split(".")[0]
        assert stem in page, name
