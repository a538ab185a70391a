"""The commands and code that the pages and the texts of `--help` show."""

import ast
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        ROOT / "conf" / "README.md",
        ROOT / "data" / "README.md",
    ]
)
# sh is run; console is run, and what it shows must come out; text is no code.
KINDS = ("sh", "console", "python", "yaml", "json", "text", "mermaid")
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
COMMAND = re.compile(
    r"(kedro|tabweave|python|make|git|pip|tensorboard|\.venv/bin/\w+)\s(?!\d)"
)
COMMENT = re.compile(r"\s+# .*")


def fences(path, *kinds):
    """The code of the blocks of these kinds, in their order."""
    found = FENCE.finditer(path.read_text(encoding="utf-8"))
    return [block["code"] for block in found if block["kind"] in kinds]


def prose(path):
    """A page without its blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def lines_of(code):
    """Commands of a block: no comments, a backslash joins lines."""
    joined = re.sub(r"\s*\\\n\s*", " ", code)
    lines = (COMMENT.sub("", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def asked(code):
    """The commands of a block that shows a terminal."""
    return [line[2:] for line in code.splitlines() if line.startswith("$ ")]


def inline(path):
    """Commands with an argument or more that stand in a sentence."""
    spans = re.findall(r"`([^`\n]+)`", prose(path))
    return [s for s in spans if COMMAND.match(s) and len(s.split()) > 2]


def helped():
    """Commands in the first text of a module, which is what `--help` prints there."""
    found = []
    for path in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("benchmarks/*.py")]):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        # A line that is indented further goes on with the one above; [..] may be left out.
        text = re.sub(r"\s*\[[^\]\n]*\]", "", re.sub(r"\n {5,}", " ", text))
        shown = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
        found += [line.strip() for line in shown if COMMAND.match(line)]
    return found


def shown_lines():
    """Every command that is shown anywhere, once."""
    found = []
    for path in PAGES:
        found += [line for code in fences(path, "sh") for line in lines_of(code)]
        found += [line for code in fences(path, "console") for line in asked(code)]
        found += inline(path)
    return list(dict.fromkeys([*found, *helped()]))


def exceptions():
    """Command -> why no test runs it in this form."""
    path = ROOT / "tests" / "documented_exceptions.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))
