import re
import shutil
import subprocess
import tomllib
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tabweave

TARGETS = (
    *("help", "install", "run", "test", "test-slow", "lint", "types", "bench", "viz"),
    "minilm",
)
# Written so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:ho" r"me|wo" r"rk|ro" r"ot|Us" r"ers)/\w")
REGISTRY = re.compile(
    r"py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js|anaconda\.o" r"rg/"
)
TEXT_ENDINGS = {
    *(".py", ".toml", ".yml", ".yaml", ".md", ".txt", ".cfg", ".json", ".csv"),
    *(".ipynb", ".sh", ""),
}


@pytest.fixture(scope="module")
def tracked(root):
    """Every file that git knows, as text."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("needs a git checkout")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    paths = [root / name for name in names if name and (root / name).is_file()]
    return {p: p.read_text(encoding="utf-8") for p in paths if p.suffix in TEXT_ENDINGS}


@pytest.fixture(scope="module")
def project_table(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]


@pytest.fixture(scope="module")
def pins(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            (exact,) = requirement.specifier
            assert exact.operator == "==", line
            found[canonicalize_name(requirement.name)] = exact.version
    return found


def requirements(project_table):
    extras = project_table["optional-dependencies"]
    for line in [*project_table["dependencies"], *chain.from_iterable(extras.values())]:
        yield Requirement(line)


def test_pins_satisfy_every_range(project_table, pins):
    for requirement in requirements(project_table):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not pinned"
        assert requirement.specifier.contains(pins[name], prereleases=True), requirement


def test_ranges_have_a_lower_end(project_table):
    for requirement in requirements(project_table):
        operators = {one.operator for one in requirement.specifier}
        assert ">=" in operators, requirement


def test_extras_are_those_of_the_design(project_table):
    assert set(project_table["optional-dependencies"]) == {
        *("train", "viz", "serve", "mlflow", "lora", "dev")
    }


def test_no_file_holds_a_path_of_one_machine(tracked):
    found = {
        f"{path.name}: {match.group()}"
        for path, text in tracked.items()
        for match in MACHINE_PATH.finditer(text)
    }
    assert found == set()


def test_no_file_names_a_package_registry(tracked):
    found = {
        f"{path.name}: {match.group()}"
        for path, text in tracked.items()
        for match in REGISTRY.finditer(text)
    }
    assert found == set()


def test_the_readme_is_short(root):
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    assert 20 <= len(lines) <= 120


def test_the_changelog_s_top_release_is_this_version(root):
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[?v?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert releases[0] == tabweave.__version__


def test_make_help_lists_every_target_that_people_use(root):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(TARGETS) <= listed


def test_every_target_says_what_it_does(root):
    text = (root / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    for target in phony:
        assert re.search(rf"^{target}:.*## \w", text, re.MULTILINE), target


def test_the_demo_that_ships_is_small(root):
    files = list((root / "data" / "01_raw").glob("*/marketplace.csv"))
    assert {path.parent.name for path in files} == {"train", "val", "test"}
    assert sum(path.stat().st_size for path in files) <= 4_000_000


def test_clean_leaves_a_user_s_own_files_alone(root):
    shown = subprocess.run(
        ["make", "-n", "clean"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert "data/$layer" in shown
    assert "06_models" in shown
    assert "01_raw" not in shown
    assert "03_primary" not in shown
