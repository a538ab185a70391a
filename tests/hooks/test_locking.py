import subprocess
import sys
import textwrap

import pytest
from kedro.framework.hooks import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from hooks_fixtures import FIT, LOAD, USE, make_node
from tabweave.datasets.files import FolderDataset, JsonDataset
from tabweave.datasets.scoring import ScoredFileDataset
from tabweave.errors import ArtifactError, InUseError
from tabweave.hooks import LockHooks, ProvenanceHooks

TRAIN = make_node(["imputer", "checkpoints"], "scaler", "fill", "train")


def hidden(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*"))


@pytest.fixture
def begin():
    """Starts runs as Kedro does; each gives what Kedro calls at its end."""
    started = []

    def start(catalog, *nodes):
        manager = _create_hook_manager()
        for hooks in (locks := LockHooks(), ProvenanceHooks()):
            manager.register(hooks)
        started.append(locks)
        given = {"run_params": {}, "pipeline": Pipeline(nodes), "catalog": catalog}
        manager.hook.before_pipeline_run(**given)
        return manager.hook, given

    yield start
    for locks in started:
        locks.release()


def test_what_is_written_and_what_others_may_write_is_held(hooks, catalog, begin):
    folder = catalog.get("imputer").path.parent
    hook, given = begin(catalog, TRAIN)
    assert hidden(folder) == [
        ".imputer.json.lock",
        ".scaler.json.lock",
        "checkpoints/.lock",
    ]
    hook.after_pipeline_run(run_result={}, **given)
    assert hidden(folder) == []


def test_a_user_s_files_get_no_lock(hooks, catalog, begin):
    begin(catalog, LOAD)
    assert hidden(catalog.get("schema").path.parent) == [".schema.json.lock"]


def test_a_user_s_file_may_have_a_name_of_any_length(hooks, catalog, begin):
    raw = catalog.get("train.raw").path.parent
    (raw / "train").mkdir()
    (raw / "train" / f"{'x' * 251}.csv").write_text("id,n\n1,2\n")
    begin(catalog, LOAD)


def test_a_second_run_that_reads_what_the_first_writes_is_refused(
    hooks, catalog, begin
):
    begin(catalog, FIT)
    for node in (FIT, USE):
        with pytest.raises(InUseError, match=r"imputer\.json is in use by another run"):
            begin(catalog, node)


def test_a_second_run_that_writes_what_the_first_reads_is_refused(
    hooks, catalog, begin
):
    begin(catalog, USE)
    with pytest.raises(InUseError, match="so this one cannot write it"):
        begin(catalog, FIT)
    begin(catalog, make_node("imputer", "metrics", "also", "evaluate"))


def test_runs_that_write_different_files_go_on_at_once(hooks, catalog, begin):
    begin(catalog, FIT)
    begin(catalog, make_node("schema", "scaler", "other", "tabular"))


def test_two_catalogs_that_lead_to_one_folder_are_noticed(
    hooks, catalog, begin, tmp_path
):
    """As those of two environments, with the same checkpoint_dir."""
    shared = {"checkpoints": FolderDataset(path=str(tmp_path / "checkpoints"))}
    mine = {
        "imputer": MemoryDataset({}),
        "scaler": JsonDataset(path=str(tmp_path / "mine" / "scaler.json")),
    }
    begin(catalog, TRAIN)
    with pytest.raises(InUseError, match="checkpoints is in use"):
        begin(DataCatalog(mine | shared), TRAIN)
    alone = {"checkpoints": FolderDataset(path=str(tmp_path / "mine" / "checkpoints"))}
    begin(DataCatalog(mine | alone), TRAIN)


def test_a_run_that_is_refused_holds_nothing(catalog, registry, begin):
    with pytest.raises(ArtifactError, match="does not exist"):
        begin(catalog, TRAIN)
    folder = catalog.get("imputer").path.parent
    assert hidden(folder) == []
    assert not (folder / "checkpoints").exists()


def test_a_run_that_fails_holds_nothing(hooks, catalog, begin):
    hook, given = begin(catalog, FIT)
    hook.on_pipeline_error(error=ValueError(), **given)
    assert hidden(catalog.get("schema").path.parent) == []


def test_the_next_run_of_a_process_follows_one_that_was_interrupted(
    hooks, catalog, registry
):
    """In a notebook nobody calls the end after Ctrl-C."""
    manager = _create_hook_manager()
    locks = LockHooks()
    manager.register(locks)
    given = {"run_params": {}, "pipeline": Pipeline([FIT]), "catalog": catalog}
    for _ in range(2):
        manager.hook.before_pipeline_run(**given)
    locks.release()


def test_what_a_run_has_put_into_a_data_folder_is_held_while_it_is_read(
    hooks, catalog, begin, tmp_path
):
    """The split writes ``<folder>/<split>/<file>`` and replaces the folder."""
    folder = tmp_path / "own"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "all.csv").write_text("id,n\n1,2\n")
    split = make_node("params:export", "split_files", "split", "split")
    entries = {name: catalog.get(name) for name in ("schema", "params:export")}
    raw = type(catalog.get("train.raw"))(path=str(folder), split="train")
    later = DataCatalog(
        {**entries, "train.raw": raw, "split_files": JsonDataset(path=str(folder))}
    )
    begin(later, split)
    with pytest.raises(InUseError, match="own is in use by another run"):
        begin(later, LOAD)


def test_scoring_holds_its_files_itself(catalog, begin, tmp_path):
    scored = DataCatalog(
        {
            "params:score": MemoryDataset({}),
            "scored_file": ScoredFileDataset(path=str(tmp_path / "out.csv")),
        }
    )
    begin(scored, make_node("params:score", "scored_file", "score", "score"))
    assert hidden(tmp_path) == []


def test_a_worker_of_a_run_ends_with_it():
    """What ParallelRunner has started must not write when the locks are gone."""
    code = (
        "import multiprocessing, os, time\n"
        "from tabweave.hooks import LockHooks\n"
        "def work():\n"
        "    LockHooks().before_node_run(); print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "LockHooks().before_node_run()\n"
        "multiprocessing.get_context('fork').Process(target=work).start()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1) as run:
        run.stdout.readline()
        run.kill()
        run.stdout.read()  # ends when the worker is gone, or never


PROJECT = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "small"
        project_name = "small"
        kedro_init_version = "1.0.0"
        """,
    "src/small/__init__.py": "",
    "src/small/settings.py": """
        from tabweave.hooks import LockHooks
        HOOKS = (LockHooks(),)
        """,
    "src/small/pipeline_registry.py": """
        import threading
        from kedro.pipeline import node, pipeline

        began, go_on = threading.Event(), threading.Event()

        def interrupted():
            raise KeyboardInterrupt

        def waiting():
            began.set()
            assert go_on.wait(20)
            return {}

        def quick():
            return {}

        def register_pipelines():
            return {
                f.__name__: pipeline([node(f, None, "x", name=f.__name__)])
                for f in (interrupted, waiting, quick)
            }
        """,
    "conf/base/catalog.yml": """
        x:
          type: tabweave.datasets.files.JsonDataset
          path: data/x.json
        """,
    "conf/local/catalog.yml": "",
}
BEGIN = """
import sys, threading, time
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from tabweave.errors import InUseError
from tabweave.running.run_locks import locked, writing
bootstrap_project(Path.cwd())

def run(name):
    with KedroSession.create(Path.cwd()) as session:
        session.run(pipeline_names=[name])

"""


def in_small_project(tmp_path, script):
    """Runs a script that starts sessions from Python, as a notebook does."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    code = BEGIN + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_interrupted_run_lets_go_though_its_error_is_kept(tmp_path):
    """A notebook keeps the last error, and so all that its calls held."""
    script = """
        try:
            run("interrupted")
        except KeyboardInterrupt as error:
            sys.last_value = error
        until = time.monotonic() + 10
        while list(Path("data").glob(".*")) and time.monotonic() < until:
            time.sleep(0.05)
        with locked([writing(Path("data/x.json").absolute())]):
            pass
        try:
            run("interrupted")
        except KeyboardInterrupt:
            run("quick")  # at once
        assert [path.name for path in Path("data").iterdir()] == ["x.json"]
        """
    in_small_project(tmp_path, script)


def test_a_run_in_another_thread_takes_no_locks_away(tmp_path):
    script = """
        first = threading.Thread(target=run, args=["waiting"], daemon=True)
        first.start()
        from small.pipeline_registry import began, go_on
        assert began.wait(20)
        time.sleep(1)  # the first is looked at a few times
        for _ in range(2):
            try:
                run("quick")
            except InUseError:
                continue
            raise AssertionError("two runs at once")
        assert Path("data/.x.json.lock").exists()
        go_on.set()
        first.join()
        run("quick")
        assert [path.name for path in Path("data").iterdir()] == ["x.json"]
        """
    in_small_project(tmp_path, script)
