import ast

# Kedro's face: names and wiring. The guards and whole runs are their tests.
WIRING = ("settings.py", "__main__.py", "pipelines")
NO_MIRROR = ("project", "e2e", "faults", "benchmarks")


def has_behaviour(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) for node in ast.walk(tree))


def test_every_module_has_a_test_file_of_its_name(root):
    source = root / "src" / "tabweave"
    missing = [
        str(path.relative_to(source))
        for path in sorted(source.rglob("*.py"))
        if path.name != "__init__.py"
        and path.relative_to(source).parts[0] not in WIRING
        and has_behaviour(path)
        and not (
            root / "tests" / path.relative_to(source).with_name(f"test_{path.name}")
        ).exists()
    ]
    assert missing == []


def test_every_test_file_is_about_a_module(root):
    tests, source = root / "tests", root / "src" / "tabweave"
    stray = [
        str(path.relative_to(tests))
        for path in sorted(tests.rglob("test_*.py"))
        if path.relative_to(tests).parts[0] not in NO_MIRROR
        and not (
            source / path.relative_to(tests).with_name(path.name.removeprefix("test_"))
        ).exists()
    ]
    assert stray == []
