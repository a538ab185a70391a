import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tabweave.configuration.yaml_text import (
    DEEPEST,
    MOST_BYTES,
    MOST_VALUES,
    check_conf_folders,
    check_conf_source,
    yaml_fault,
)
from tabweave.errors import ConfigError


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
        ("a: [1", "line 1: "),
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


def packed(folder, name, kind, **files):
    for environment, text in files.items():
        path = folder / "conf" / environment / "parameters.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    made = shutil.make_archive(str(folder / "made"), kind, folder, "conf")
    return Path(made).rename(folder / name)


KINDS = [("conf.tar.gz", "gztar"), ("conf.tgz", "gztar"), ("c.tar", "tar")]
KINDS += [("c.tar.xz", "xztar"), ("c.tar.bz2", "bztar"), ("c.zip", "zip")]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_the_files_of_an_archive_are_read_as_those_of_a_folder(tmp_path, name, kind):
    files = {"base": laughs(12), "mine": "a: [1", "other": "- 1"}
    archive = packed(tmp_path, name, kind, **files)
    with pytest.raises(ConfigError) as caught:
        check_conf_source(archive, ("base", "mine"))
    told = str(caught.value)
    assert f"{archive}, conf/base/parameters.yml: " in told
    assert f"it holds more than {MOST_VALUES:,} values" in told
    assert f"{archive}, conf/mine/parameters.yml: line 1: " in told
    assert "other" not in told
    check_conf_source(packed(tmp_path, name, kind, base="a: 1"), ("base", "local"))


@pytest.mark.parametrize("name", [name for name, _ in KINDS])
@pytest.mark.parametrize("damage", ["junk", "cut", "none"])
def test_what_is_no_archive_is_named(tmp_path, name, damage):
    archive = packed(tmp_path, name, dict(KINDS)[name], base="a: 1")
    content = archive.read_bytes()
    archive.unlink()
    if damage != "none":
        cut = content[: len(content) // 2 if "r." in name or "z" in name else 700]
        archive.write_bytes(b"junk" if damage == "junk" else cut)
    with pytest.raises(ConfigError, match=f"--conf-source {archive} cannot be read as"):
        check_conf_source(archive, ("base", "local"))


@pytest.mark.parametrize(("name", "kind"), [KINDS[0], KINDS[-1]])
def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, name, kind):
    (tmp_path / "conf" / "base").mkdir(parents=True)
    with (tmp_path / "conf" / "base" / "x.yml").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    archive = packed(tmp_path, name, kind)
    with pytest.raises(ConfigError, match=f"holds more than {MOST_BYTES:,} bytes"):
        check_conf_source(archive, ("base", "local"))
