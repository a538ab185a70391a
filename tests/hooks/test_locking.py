import subprocess
import sys

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
        locks.locks.release()


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
    locks.locks.release()


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
