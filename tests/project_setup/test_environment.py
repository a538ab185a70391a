import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tabweave.errors import ConfigError
from tabweave.project_setup import (
    ColumnRole,
    InferredRoles,
    infer_roles,
    write_environment,
)
from tabweave.project_setup.environment import _scalar
from tabweave.schema import DataConfig, DataSchema
from tabweave.text.config import TextConfig, resolve_fields

AWKWARD = ["0", "yes", "no", "null", "2024-01-31", "1e3", "0x1F", "1_000", "12:30", ""]
AWKWARD += [
    "~",
    "a: b",
    "a #b",
    "- x",
    "[a]",
    "{a}",
    "*a",
    "é",
    "line\nbreak",
    " x ",
    "'",
]


def roles_of(tmp_path, text=("note",), labels=("0", "1"), **kinds):
    columns = [ColumnRole(name, "text", "9 distinct, none missing") for name in text]
    columns += [ColumnRole("row id", "id", "unique"), ColumnRole("on", "label", "2")]
    columns += [
        ColumnRole(n, kind.replace("_", " "), "seen") for n, kind in kinds.items()
    ]
    return InferredRoles(
        source=tmp_path / "train.csv",
        rows=10,
        sampled=10,
        columns=tuple(columns),
        classes=dict.fromkeys(labels, 5),
        max_sen_len=128,
    )


def written(tmp_path, roles, name="mine", data_dir="data/mine"):
    parameters, settings = write_environment(tmp_path / "conf", name, data_dir, roles)
    assert parameters == tmp_path / "conf" / name / "parameters.yml"
    assert settings == tmp_path / "conf" / name / "globals.yml"
    return parameters.read_text(encoding="utf-8"), settings.read_text(encoding="utf-8")


def test_the_files_say_what_was_proposed(tmp_path):
    roles = roles_of(tmp_path, shop="categorical", total="numeric", when="left_out")
    text, settings = written(tmp_path, roles)
    parsed = yaml.safe_load(text)
    assert set(parsed) == {"data", "text"}
    assert DataConfig(**parsed["data"]) == roles.data
    assert "#   when: seen" in text
    assert "kedro run --env=mine" in text
    assert yaml.safe_load(settings) == {"data_dir": "data/mine"}


def test_every_list_is_written_so_that_base_shows_through_nowhere(tmp_path):
    parsed = yaml.safe_load(written(tmp_path, roles_of(tmp_path))[0])
    assert parsed["data"]["categorical"] == parsed["data"]["numeric"] == []
    assert parsed["data"]["null_values"] == [""]


def test_doubts_stand_above_the_line(tmp_path):
    roles = roles_of(tmp_path)
    doubted = ColumnRole("total", "numeric", "seen", "it knows too much")
    roles = InferredRoles(**(vars(roles) | {"columns": (*roles.columns, doubted)}))
    lines = written(tmp_path, roles)[0].splitlines()
    where = lines.index("    # doubt: it knows too much")
    assert lines[where + 1] == "    - total  # seen"


@pytest.mark.parametrize("labels", [("no", "yes"), ("0", "1"), tuple(AWKWARD[1:])])
def test_labels_stay_strings_for_every_loader(tmp_path, labels):
    text, _ = written(tmp_path, roles_of(tmp_path, labels=labels))
    assert yaml.safe_load(text)["data"]["classes"] == list(labels)
    assert OmegaConf.to_object(OmegaConf.create(text))["data"]["classes"] == list(
        labels
    )


@given(st.text(max_size=12) | st.sampled_from(AWKWARD))
def test_any_string_comes_back_as_itself(value):
    if "${" in value or value == "???":
        return
    line = f"a: [{_scalar(value)}]  # comment\nb:\n  - {_scalar(value)}  # comment"
    expected = {"a": [value], "b": [value]}
    assert yaml.safe_load(line) == expected
    assert OmegaConf.to_object(OmegaConf.create(line)) == expected


@pytest.mark.parametrize("value", ["a${b}", "???"])
def test_what_kedro_would_replace_is_refused(tmp_path, value):
    with pytest.raises(ConfigError, match="Rename it in the files"):
        written(tmp_path, roles_of(tmp_path, labels=("ok", value)))
    assert not (tmp_path / "conf").exists()


def test_a_left_out_column_may_have_any_name(tmp_path):
    roles = roles_of(tmp_path, **{"${x}\nlabel: 1": "left_out"})
    assert yaml.safe_load(written(tmp_path, roles)[0])["data"]["label"] == "on"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (("note",), [{"name": "note"}]),
        (("a/b",), [{"name": "text", "columns": ["a/b"]}]),
        (("title", "note"), [{"name": "text", "columns": ["title", "note"]}]),
        (("a, b", "c", "d"), [{"name": "text", "columns": ["a, b", "c", "d"]}]),
    ],
)
def test_text_fields(tmp_path, text, fields):
    roles = roles_of(tmp_path, text=text)
    parsed = yaml.safe_load(written(tmp_path, roles)[0])["text"]
    assert parsed == {"max_sen_len": 128, "fields": fields}
    shared = set(DataSchema.model_fields)
    schema = DataSchema(**roles.data.model_dump(include=shared, exclude_none=True))
    (field,) = resolve_fields(TextConfig(**parsed), schema)
    assert field.columns == text


def test_the_comment_on_two_fields_can_be_put_in_place(tmp_path):
    roles = roles_of(tmp_path, text=("title", "the note"))
    text, _ = written(tmp_path, roles)
    kept, commented = text.split("    - name: text\n")
    lines = [line for line in commented.splitlines() if line.startswith("    # ")]
    swapped = "\n".join(f"    {line[6:]}" for line in lines if line[6] in "- ")
    parsed = yaml.safe_load(kept + swapped)["text"]
    assert parsed["fields"] == [
        {"name": "title", "columns": ["title"]},
        {"name": "text_2", "columns": ["the note"]},
    ]
    assert "trimodal_bert" in text


def test_an_environment_is_never_overwritten(tmp_path):
    roles = roles_of(tmp_path)
    first = written(tmp_path, roles)
    with pytest.raises(ConfigError, match="Choose another name with --name"):
        write_environment(tmp_path / "conf", "mine", "elsewhere", roles)
    folder = tmp_path / "conf" / "mine"
    assert (folder / "globals.yml").read_text() == first[1]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["mine"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a b", "-x", ".x", "x."]
)
def test_names_that_are_no_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name an environment"):
        write_environment(tmp_path, name, "data", roles_of(tmp_path))


@pytest.mark.parametrize("name", ["base", "local", "Base"])
def test_names_of_kedro(tmp_path, name):
    with pytest.raises(ConfigError, match="Kedro uses conf/base"):
        write_environment(tmp_path, name, "data", roles_of(tmp_path))


@pytest.mark.parametrize("data_dir", ["/a b/ü", "../x", "0", "C:\\data: x"])
def test_the_folder_is_written_as_given(tmp_path, data_dir):
    _, settings = written(tmp_path, roles_of(tmp_path), data_dir=data_dir)
    assert yaml.safe_load(settings) == {"data_dir": data_dir}


def test_a_file_with_awkward_names_goes_all_the_way(tmp_path):
    header = 'id,"the ""note"", raw",no,yes: no,2024\n'
    rows = "".join(
        f"{i:02d},word {i},{'yn'[i % 2]},{'ab'[i % 3 % 2]},{i % 7}.5\n"
        for i in range(30)
    )
    (tmp_path / "train.csv").write_text(header + rows)
    roles = infer_roles(tmp_path, label="no", text=['the "note", raw'])
    parsed = yaml.safe_load(written(tmp_path, roles)[0])
    config = DataConfig(**parsed["data"])
    assert config == roles.data
    assert config.categorical == ("yes: no",)
    assert config.numeric == ("2024",)
    assert config.classes == ("n", "y")
