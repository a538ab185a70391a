"""Finds blocks of statements that stand in two files, and helpers that are used once.

Run as ``python tests/project/blocks.py src``: ends with 1 where it finds a block.

Statements of a function are read in order, those inside others too; an ``if`` or ``for``
counts by its head. Equal means equal but for the names of variables and arguments and for
the values of literals; names of attributes and keywords stay, as they say what is
done. Imports and docstrings do not count: they are meant to be alike.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

LONGEST = 5
"""Equal statements that two files may share."""
INNER = ("body", "handlers", "orelse", "finalbody", "cases")


class _Nameless(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("name", node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(0)


def statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Statements in the order of reading, without imports and docstrings."""
    for node in body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or is_text:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue  # read by itself
        if isinstance(node, ast.stmt):
            yield node
        for name in INNER:
            yield from statements(getattr(node, name, []))


def shape(statement: ast.AST) -> str:
    """What a statement does, whatever its variables are called."""
    head = copy.copy(statement)
    for name in INNER:
        if isinstance(getattr(head, name, None), list):
            setattr(head, name, [])
    return ast.dump(_Nameless().visit(copy.deepcopy(head)))


def blocks(files: Sequence[Path], longest: int = LONGEST) -> list[str]:
    """The first lines of blocks of over `longest` statements that two files share."""
    places: dict[tuple[str, ...], dict[Path, int]] = defaultdict(dict)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own = list(statements(node.body))
                shapes = [shape(statement) for statement in own]
                for start in range(len(own) - longest):
                    block = tuple(shapes[start : start + longest + 1])
                    places[block].setdefault(file, own[start].lineno)  # type: ignore[attr-defined]
    return [
        " and ".join(f"{file}:{line}" for file, line in shared.items())
        for shared in places.values()
        if len(shared) > 1
    ]


def used_once(file: Path) -> list[str]:
    """Private functions and methods of a file that it names once."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("_")
        and not node.name.startswith("__")
        and named[node.name] == 1
    ]


def main() -> int:
    """Prints what was found below the folder."""
    files = sorted(Path(sys.argv[1]).rglob("*.py"))
    found = blocks(files)
    for place in found:
        sys.stdout.write(
            f"{place} hold the same {LONGEST + 1} statements: write them once.\n"
        )
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    once = sum(len(used_once(file)) for file in files)
    sys.stdout.write(
        f"{1000 * once / lines:.1f} private helpers per 1,000 lines are used once.\n"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
