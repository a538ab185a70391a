import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as distributed

from models_fixtures import small_disk
from tabweave.errors import ArtifactError, TrainingError
from tabweave.training.checkpoints.checkpoint import (
    META,
    WholeFileCheckpointIO,
    best_checkpoint,
    checkpoint_values,
    keep_best,
    link_best,
    load_weights,
    model_weights,
    own_checkpoints,
)

STATE = {"state_dict": {"model.a": torch.ones(3), "other.b": torch.zeros(1)}}


@pytest.fixture
def files():
    return WholeFileCheckpointIO()


def test_what_is_saved_is_what_is_loaded(tmp_path, files):
    files.save_checkpoint({**STATE, "epoch": 3}, tmp_path / "new" / "a.ckpt")
    found = torch.load(tmp_path / "new" / "a.ckpt", weights_only=True)
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["model.a"], torch.ones(3))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.ckpt"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, files):
    path = tmp_path / "last.ckpt"
    files.save_checkpoint(STATE, path)
    old = path.read_bytes()
    with (
        small_disk(),
        pytest.raises(ArtifactError, match=r"Cannot write .*last.ckpt: File too large"),
    ):
        files.save_checkpoint({"state_dict": {"model.a": torch.ones(50_000)}}, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, files):
    path = tmp_path / "last.ckpt"
    files.save_checkpoint(STATE, path)
    old = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        files.save_checkpoint({**STATE, "code": lambda: 0}, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_torch_that_is_not_the_disk_s_stays_what_it_is(tmp_path, files):
    class Unreadable:
        def __reduce__(self):
            raise RuntimeError("not the disk")

    with pytest.raises(RuntimeError, match="not the disk") as caught:
        files.save_checkpoint({"x": Unreadable()}, tmp_path / "a.ckpt")
    assert not isinstance(caught.value, ArtifactError)


def test_the_best_is_a_relative_link(tmp_path):
    (tmp_path / "run").mkdir()
    best = tmp_path / "run" / "epoch=0-step=3.ckpt"
    best.write_bytes(b"best")
    link = link_best(tmp_path / "run", str(best))
    assert link == tmp_path / "run" / "best.ckpt"
    assert os.readlink(link) == best.name
    (tmp_path / "run").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "best.ckpt").read_bytes() == b"best"


def test_a_new_best_takes_the_place_of_the_old(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).write_text(name)
        link_best(tmp_path, str(tmp_path / name))
    assert (tmp_path / "best.ckpt").read_text() == "b.ckpt"


def test_a_disk_without_links_gets_a_copy(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "a.ckpt").write_bytes(b"best")
    link = link_best(tmp_path, str(tmp_path / "a.ckpt"))
    assert not link.is_symlink()
    assert link.read_bytes() == b"best"


def test_no_checkpoint_at_all_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(TrainingError, match=r"before the first validation.*max_epochs"):
        link_best(tmp_path, "")


def test_only_the_model_s_weights_are_taken(tmp_path, files):
    files.save_checkpoint(STATE, tmp_path / "a.ckpt")
    found = model_weights(tmp_path / "a.ckpt")
    assert list(found) == ["a"]
    assert torch.equal(found["a"], torch.ones(3))


class Runs:
    def __reduce__(self):
        return os.mkdir, (os.environ["PROOF"],)


@pytest.mark.parametrize("content", ["nothing", "empty", "cut", "code", "other"])
def test_what_is_no_checkpoint_is_refused(tmp_path, files, monkeypatch, content):
    path, proof = tmp_path / "a.ckpt", tmp_path / "the code was run"
    monkeypatch.setenv("PROOF", str(proof))
    files.save_checkpoint(STATE, path)
    if content == "nothing":
        path.unlink()
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        torch.save({"state_dict": Runs()} if content == "code" else {"a": 1}, path)
    kind = "checkpoint of a model" if content == "other" else "whole checkpoint"
    with pytest.raises(ArtifactError, match=rf"a\.ckpt is not a {kind}"):
        model_weights(path)
    assert not proof.exists()


def test_only_checkpoints_that_a_run_writes_are_its_own(tmp_path):
    for name in (
        *("epoch=0-step=3.ckpt", "last.ckpt", "best.ckpt"),
        *("mine.ckpt", "epoch=best.ckpt", "last.ckpt.bak", "notes.txt"),
    ):
        (tmp_path / name).write_text(name)
    assert {path.name for path in own_checkpoints(tmp_path)} == {
        *("epoch=0-step=3.ckpt", "last.ckpt", "best.ckpt")
    }


@pytest.mark.parametrize("way", ["link", "relative"])
def test_own_checkpoints_are_named_as_lightning_names_them(tmp_path, monkeypatch, way):
    real = tmp_path / "real"
    real.mkdir()
    folder = tmp_path / "link"
    folder.symlink_to(real)
    if way == "relative":
        monkeypatch.chdir(tmp_path)
        folder = Path("real")
    (real / "last.ckpt").write_text("old")
    (path,) = own_checkpoints(folder)
    best = best_checkpoint(folder, "val/score", "max")
    assert path == Path(best.dirpath) / "last.ckpt"
    WholeFileCheckpointIO([path]).save_checkpoint(STATE, path)
    assert list(model_weights(folder / "last.ckpt")) == ["a"]


def test_an_earlier_run_s_checkpoints_go_when_the_first_new_one_is_there(tmp_path):
    old = tmp_path / "epoch=0-step=3.ckpt"
    same = tmp_path / "last.ckpt"
    for path in (old, same, tmp_path / "mine.ckpt"):
        path.write_text("old")
    writer = WholeFileCheckpointIO(own_checkpoints(tmp_path))
    assert old.exists()
    writer.save_checkpoint({"a": torch.ones(1)}, same)
    assert not old.exists()
    assert torch.load(same, weights_only=True)["a"].item() == 1
    old.write_text("new")
    writer.save_checkpoint({"a": torch.ones(1)}, same)
    assert old.exists()  # only what was there before goes
    assert (tmp_path / "mine.ckpt").read_text() == "old"


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_ones_by_the_metric_are_kept(tmp_path, mode):
    best = best_checkpoint(tmp_path, "val/score", mode)
    assert (best.monitor, best.mode) == ("val/score", mode)
    assert best.save_top_k == 1
    assert not best.save_last  # it would be a copy, written within a step
    made = {"epoch": 2, "step": 40}
    assert Path(best.format_checkpoint_name(made)).name == "epoch=2-step=40.ckpt"
    assert best_checkpoint(tmp_path, "val/score", mode, 3).save_top_k == 3


def in_parts(folder):
    """A checkpoint in the form in which several processes write one."""
    weights = {"model.a": torch.arange(3.0), "other.b": torch.zeros(1)}
    distributed.save({"state_dict": weights}, checkpoint_id=folder, no_dist=True)
    torch.save({"epoch": 3, "global_step": 40}, folder / META)
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_a_checkpoint_in_parts_is_read_like_one_in_one_file(tmp_path):
    folder = in_parts(tmp_path / "last.ckpt")
    assert checkpoint_values(folder) == {"epoch": 3, "global_step": 40}
    found = model_weights(folder)
    assert list(found) == ["a"]
    assert torch.equal(found["a"], torch.arange(3.0))


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_a_checkpoint_in_parts_without_its_values_is_refused(tmp_path):
    folder = in_parts(tmp_path / "last.ckpt")
    (folder / META).unlink()
    with pytest.raises(ArtifactError, match=r"last\.ckpt is not a whole checkpoint"):
        checkpoint_values(folder)


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_checkpoints_in_parts_are_replaced_and_copied_like_others(
    tmp_path, monkeypatch, files
):
    def refuse(self, target):
        raise OSError("no links here")

    best = in_parts(tmp_path / "epoch=0-step=3.ckpt")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):  # the second copy takes the place of the first
        link = link_best(tmp_path, str(best))
        assert torch.equal(model_weights(link)["a"], torch.arange(3.0))
    WholeFileCheckpointIO([best, link]).save_checkpoint(STATE, tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("parts", [True, False])
def test_the_best_stays_when_the_checkpoint_it_links_to_goes(
    tmp_path, monkeypatch, links, parts
):
    def refuse(*names, **options):
        raise OSError("no second names here")

    best = tmp_path / "epoch=0-step=3.ckpt"
    if parts:
        best.mkdir()
        (best / "part").write_bytes(b"old")
    else:
        best.write_bytes(b"old")
    link = link_best(tmp_path, str(best))
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):  # the second time, it is no link any more
        keep_best(tmp_path)
    (best / "part" if parts else best).unlink()
    kept = link / "part" if parts else link
    assert kept.read_bytes() == b"old"
    new = tmp_path / "epoch=1-step=6.ckpt"
    new.write_bytes(b"new")
    assert os.readlink(link_best(tmp_path, str(new))) == new.name
    assert not list(tmp_path.glob(".*"))


def test_what_was_best_is_known_after_the_folder_has_moved(tmp_path):
    before, after = (best_checkpoint(tmp_path / n, "val/auroc", "max") for n in "ab")
    score, name = torch.tensor(0.7), "epoch=0-step=8.ckpt"
    before.best_model_score = before.kth_value = score
    before.best_model_path = before.kth_best_model_path = str(tmp_path / "a" / name)
    before.best_k_models = {before.best_model_path: score}
    assert after.state_key == before.state_key
    after.load_state_dict(before.state_dict())
    assert after.best_model_score == after.kth_value == score
    assert after.best_model_path == str(tmp_path / "b" / name)
    assert after.kth_best_model_path == after.best_model_path
    assert after.best_k_models == {after.best_model_path: score}
    assert after.last_model_path == ""


def test_without_a_best_there_is_nothing_to_keep(tmp_path):
    keep_best(tmp_path)
    (tmp_path / "best.ckpt").symlink_to("gone.ckpt")
    keep_best(tmp_path)
    assert os.readlink(tmp_path / "best.ckpt") == "gone.ckpt"


ODD = [None, 1, "text", [torch.ones(1)], {"model.a": 1}, {1: torch.ones(1)}]


@pytest.mark.parametrize("weights", ODD, ids=str)
def test_odd_weights_are_an_error_of_the_checkpoint(tmp_path, files, weights):
    files.save_checkpoint({"state_dict": weights}, tmp_path / "a.ckpt")
    with pytest.raises(ArtifactError, match=r"a\.ckpt is not a checkpoint of a model"):
        model_weights(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [1, [STATE], torch.ones(2), "text"], ids=str)
def test_a_checkpoint_that_is_no_table_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "a.ckpt")
    for read in (checkpoint_values, model_weights):
        with pytest.raises(ArtifactError, match=r"a\.ckpt is not a whole checkpoint"):
            read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(tmp_path, files, bad, kind):
    weights = {"model.a": torch.tensor([1.0, bad, 2.0, bad], dtype=kind)}
    files.save_checkpoint({"state_dict": weights}, tmp_path / "a.ckpt")
    with pytest.raises(
        ArtifactError, match=r"a\.ckpt .* 2 of the 4 numbers of model\.a are NaN or"
    ):
        model_weights(tmp_path / "a.ckpt")


def test_weights_of_another_model_are_refused_by_name(tmp_path, files):
    model = torch.nn.Linear(2, 3)
    good = {f"model.{name}": value + 1 for name, value in model.state_dict().items()}
    files.save_checkpoint({"state_dict": good}, tmp_path / "a.ckpt")
    load_weights(model, tmp_path / "a.ckpt")
    assert torch.equal(model.weight, good["model.weight"])
    for odd, words in (
        (
            {**good, "model.weight": torch.ones(9, 9)},
            r"weight a tensor of shape \[3, 2\]",
        ),
        ({"model.weight": good["model.weight"]}, "hold it as nothing"),
        ({**good, "model.more": torch.ones(1)}, "makes more nothing"),
    ):
        files.save_checkpoint({"state_dict": odd}, tmp_path / "a.ckpt")
        with pytest.raises(ArtifactError, match=f"of another model: .*{words}"):
            load_weights(model, tmp_path / "a.ckpt")
