SPLITS = ("train", "val", "test")


def test_fabricate_writes_the_files_that_are_committed(make_project, tmp_path, root):
    project = make_project(tmp_path / "project")
    done = project.ran("--pipelines=fabricate")
    assert "fabricate" in done.out
    for split in SPLITS:
        name = f"01_raw/{split}/marketplace.csv"
        assert project.files()[name] == (root / "data" / name).read_bytes(), split
    assert not [name for name in project.files() if name.endswith(".part")]


def test_the_registry_is_listed(make_project, tmp_path):
    project = make_project(tmp_path / "project")
    done = project.python("-m", "kedro", "registry", "list")
    assert done.code == 0, done.text
    listed = {line.removeprefix("- ").strip() for line in done.out.splitlines()}
    assert {
        *("__default__", "load", "text", "tabular", "train", "evaluate", "export"),
        *("prepare", "fabricate"),
    } <= listed
    assert "warning" not in done.text.lower()
