import os
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import ConfigError
from tabweave.yaml_text import DEEPEST, MOST_VALUES, check_conf_folders, yaml_fault


def laughs(levels):
    """A few lines whose aliases expand to ten to the power of their number."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1", "line 2: "),
        ("a: 1\nb: c: d", "line 2: mapping values are not allowed"),
        ("a: 1\n\tb: 2", "line 2: "),
        ("- 1", "line 1: it must hold keys and values."),
        ("text", "line 1: it must hold keys and values."),
        ("a: *b", "line 1: *b names nothing that is complete"),
        ("a: &a [*a]", "line 1: *a names nothing that is complete"),
        ("a: \0", "it is not YAML"),
        (f"a: {'[' * 5000}", f"line 1: it is nested more than {DEEPEST} levels"),
        (laughs(12), f"it holds more than {MOST_VALUES:,} values"),
    ],
)
def test_what_may_not_be_read_is_said_with_its_line(text, fault):
    started = time.process_time()
    assert fault in yaml_fault(text, mapping=True)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["", "# nothing", "a: &b 1\nc: *b", laughs(4), "{}"])
def test_what_may_be_read_has_no_fault(text):
    assert yaml_fault(text, mapping=True) == ""


@given(st.text() | st.text(alphabet="[]{}:,-&*!|>'\"#%@\n a"))
def test_text_without_a_fault_is_read_by_yaml(text):
    if not yaml_fault(text):
        try:
            list(yaml.compose_all(text))
        except yaml.YAMLError as error:
            pytest.fail(str(error))


def test_all_files_of_all_folders_are_named_at_once(tmp_path):
    (tmp_path / "base" / "deep").mkdir(parents=True)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "a.yml").write_text("1: 2")
    (tmp_path / "local" / "b.yml").write_text("a: !!python/object:os.system x")
    (tmp_path / "base" / "deep" / "parameters.yml").write_bytes(b"a: \xff")
    (tmp_path / "base" / "good.yml").write_text("a: 1")
    (tmp_path / "base" / "notes.txt").write_text("a: [")
    (tmp_path / "local" / "catalog.yml").write_text("a: [")
    os.symlink("nowhere", tmp_path / "local" / "globals.yml")
    folders = [tmp_path / name for name in ("base", "local", "missing")]
    with pytest.raises(ConfigError) as caught:
        check_conf_folders(folders)
    _, *lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"  - {tmp_path}/base/deep/parameters.yml",
        f"  - {tmp_path}/local/a.yml",
        f"  - {tmp_path}/local/b.yml",
        f"  - {tmp_path}/local/catalog.yml",
        f"  - {tmp_path}/local/globals.yml",
    ]
    assert "it is not UTF-8 (byte 3)" in lines[0]
    assert "keys must be text, but are 1." in lines[1]
    assert "No such file" in lines[4]
