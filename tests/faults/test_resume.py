"""A training that is stopped anywhere and goes on in a new process: the same bits."""

import json
import os
import random
import shutil
import signal
from dataclasses import replace

import pytest
from trainings import Trouble, digest

from tabweave.errors import ArtifactError
from tabweave.sagemaker.hyperparameters import Hyperparameters, to_parameters
from tabweave.training.checkpoints.checkpoint import LAST, checkpoint_values
from tabweave.training.checkpoints.sharded import joined_weights
from tabweave.training.engine import train_model
from tabweave.training.fitting import epoch_batches

pytestmark = pytest.mark.slow

STOPS = int(os.environ.get("TABWEAVE_STOPS", "0"))
PATIENCE = 180
# Rows that neither batches nor ranks divide.
ODD = {"batch_size": 7, "max_epochs": 3, "early_stop_patience": 3}
CASES = {
    "one process": (4, {}),
    "two ranks": (2, {"devices": 2}),
    "two workers": (1, {"num_workers": 2}),
    "two ranks, two workers each": (1, {"devices": 2, "num_workers": 2}),
    "accumulation": (1, {"accumulate_grad_batches": 2}),
    "token budget": (1, {"max_tokens_per_batch": 40}),
    "averaged weights": (1, {"ema_decay": 0.9}),
    "fsdp": (1, {"devices": 2, "strategy": "fsdp"}),
    "fsdp, checkpoints in parts": (
        1,
        {"devices": 2, "strategy": "fsdp", "fsdp": {"sharded_checkpoints": True}},
    ),
}
IN_VALIDATION = {"one process": 1, "two ranks": 1}
# Fields of a record that a clock or the machine gives.
MEASURED = ("_seconds", "_per_second", "_mib", "_peak_share")


def stops():
    """Every stop to be made: a case, whether in validation, and the seed of the draw."""
    for name, (count, _) in CASES.items():
        wanted = max(count, STOPS if name == "one process" else STOPS // 4)
        yield from ((name, False, seed) for seed in range(wanted))
    for name, count in IN_VALIDATION.items():
        wanted = max(count, STOPS // 4)
        yield from ((name, True, seed) for seed in range(wanted))


@pytest.fixture(scope="module")
def plan(tiny):
    def make(name, folder, **changes):
        settings = ODD | CASES[name][1] | changes
        return tiny.plan("multimodal_bert", folder, **settings)

    return make


def final(run):
    """All that a training comes to: the last weights and optimizer, the best model."""
    path = run.plan.checkpoints / LAST
    last = checkpoint_values(path)
    names = {"state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"}
    if path.is_dir():  # the parts of the optimizer are the processes' own
        last, names = last | joined_weights(path), names - {"optimizer_states"}
    names |= {"current_model_state", "averaging_state"} & set(last)
    result = run.result()
    records = [
        {name: value for name, value in record.items() if not name.endswith(MEASURED)}
        for record in result["records"]
    ]
    weights = digest({name: last[name] for name in names})
    return {"last": weights, "best": result["model"], "records": records}


@pytest.fixture(scope="module")
def uninterrupted(start, plan, tmp_path_factory):
    """What a case comes to when nothing stops it; trained once."""
    found = {}

    def find(name):
        if name not in found:
            training = start(plan(name, tmp_path_factory.mktemp("whole")))
            assert training.ended(PATIENCE) == 0, training.words()
            found[name] = training.run
        return found[name]

    return find


def world(run):
    config = run.plan.config
    return 1 if config.devices == "auto" else config.devices


def drawn(draw, run, *, validation):
    """A trouble at a random place of a training."""
    ranks = world(run)
    rank = draw.randrange(ranks)
    ways = ["SIGKILL", "SIGTERM"]
    if ranks > 1:
        ways += ["launcher SIGKILL", "launcher SIGTERM"]
    places = ["validation", "end of validation"] if validation else ["step"]
    return Trouble(
        draw.choice(ways),
        rank=rank,
        # There is a checkpoint before it, and something to do after it.
        step=draw.randrange(4, len(run.steps(rank)) - 2),
        place=draw.choice(places),
        # Sometimes within a step, or while a checkpoint is written.
        delay=0 if validation else draw.choice([0, draw.uniform(0, 0.02)]),
    )


@pytest.fixture
def stopped_and_resumed(start, note):
    """Trains, meets a trouble, and trains again until the end; all runs in order."""

    def train(plan, trouble):
        first = start(plan, trouble=trouble)
        code = first.ended(PATIENCE)
        assert first.left(10) == []
        assert code in (0, 1, 143, -signal.SIGKILL), first.words()
        if "SIGTERM" in trouble.what:
            assert code in (0, 143), first.words()
        again = start(replace(plan, config=resumed(plan.config)))
        assert again.ended(PATIENCE) == 0, again.words()
        return [first.run, again.run], code

    return train


def resumed(config):
    return config.model_copy(update={"resume": "auto"})


def place(line):
    return line["epoch"], line["batch"]


def counted(runs, rank):
    """Batches that count: what came after a checkpoint is computed again."""
    found = []
    for run in runs:
        steps = run.steps(rank)
        if steps:
            found = [line for line in found if place(line) < place(steps[0])]
        found += steps
    return found


def assert_every_row_once(runs, rows):
    epochs = {}
    for rank in range(world(runs[0])):
        for line in counted(runs, rank):
            epochs.setdefault(line["epoch"], []).extend(line["rows"])
    assert sorted(epochs) == list(range(runs[0].plan.config.max_epochs))
    for seen in epochs.values():
        assert sorted(seen) == list(range(rows))


@pytest.mark.parametrize(("name", "validation", "seed"), list(stops()))
def test_a_stopped_training_ends_with_the_same_bits(
    name, validation, seed, plan, tmp_path, uninterrupted, stopped_and_resumed, note
):
    whole = uninterrupted(name)
    draw = random.Random(f"{name} {validation} {seed}")
    trouble = drawn(draw, whole, validation=validation)
    every = draw.choice([1, 2])
    made = plan(name, tmp_path / "first", checkpoint_every_n_steps=every)
    runs, code = stopped_and_resumed(made, trouble)
    if code == 0:  # it was done before the trouble came
        trouble = replace(trouble, delay=0)
        made = plan(name, tmp_path / "again", checkpoint_every_n_steps=every)
        runs, code = stopped_and_resumed(made, trouble)
    assert code != 0, trouble
    later = runs[1].steps(0)
    assert not later or later[0]["step"] > 0, "it began anew"
    for rank in range(world(whole)):
        assert counted(runs, rank) == whole.steps(rank), trouble
    if code == 143:
        # All left at the step at hand: nothing is computed twice.
        both = [len(run.steps(0)) for run in runs]
        assert sum(both) == len(whole.steps(0)), trouble
    assert_every_row_once(runs, len(made.train))
    assert final(runs[1]) == final(whole), trouble
    note(f"{name}, {trouble}", f"exit {code}, resumed to equal bytes")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_same_seed_gives_the_same_bytes(start, plan, tmp_path, strategy):
    found = []
    for n in range(2):
        made = plan("two ranks", tmp_path / str(n), strategy=strategy)
        training = start(made)
        assert training.ended(PATIENCE) == 0, training.words()
        found.append((final(training.run), training.run.steps(0)))
    assert found[0] == found[1]


def test_other_ranks_change_bits_but_not_the_order_of_the_rows(uninterrupted):
    one, two = uninterrupted("one process"), uninterrupted("two ranks")
    alone = [(line["epoch"], line["rows"]) for line in one.steps()]
    for epoch in range(3):
        order = [n for at, rows in alone if at == epoch for n in rows]
        together = [
            n
            for a, b in zip(two.steps(0), two.steps(1), strict=True)
            if a["epoch"] == epoch
            for n in (*a["rows"], *b["rows"])
        ]
        assert together == order
    assert final(one)["last"] != final(two)["last"]


# One process, in this one: what is refused, and what is not.


@pytest.fixture
def finished(tiny, tmp_path):
    """A finished training of one epoch, and a way to plan one that goes on from it."""

    def plan(**changes):
        changes = {"max_epochs": 1, "run_scheduler": False} | changes
        return tiny.plan("tabular", tmp_path, **changes)

    train_model(plan())
    return plan


def assert_refused(plan, difference, caplog):
    """By name where it is required; told of where it is not."""
    required = plan.config.model_copy(update={"resume": "required"})
    with pytest.raises(ArtifactError) as caught:
        train_model(replace(plan, config=required))
    assert difference in str(caught.value)
    assert "last.ckpt is of another training" in str(caught.value)
    caplog.clear()
    trained = train_model(replace(plan, config=resumed(plan.config)))
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any(difference in message for message in warned), warned
    assert trained.history["records"][0]["epoch"] == 0


def test_a_checkpoint_of_other_parameters_is_refused(finished, caplog):
    assert_refused(finished(head_lr=0.5), "training.head_lr: 0.003 -> 0.5", caplog)


def test_a_checkpoint_of_other_data_is_refused(finished, tiny, tmp_path, caplog):
    plan = finished()
    other = tiny.rows("tabular", rows=48, seed=7)
    table = other.feature_file
    train = type(plan.train)(plan.train.token_file, table, ())
    assert_refused(replace(plan, train=train), "data of train features: ", caplog)


def test_a_checkpoint_of_another_encoder_is_refused(
    tiny, tmp_path, encoder_folder, caplog
):
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder("bert"), folder)
    (folder / "tokenizer.json").write_text("{}")

    def plan(**changes):
        return tiny.plan("bert", tmp_path, encoder=str(folder), max_epochs=1, **changes)

    train_model(plan())
    made = plan()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=8))
    assert_refused(made, "encoder of review: ", caplog)


def test_load_ckpt_goes_on(root):
    path = root / "tests" / "specification_examples.json"
    given = json.loads(path.read_text("utf-8"))["binary_bert"]
    found = to_parameters(Hyperparameters(**(given | {"load_ckpt": True})))
    assert found["training"]["resume"] == "auto"


def test_nothing_to_go_on_from_is_an_error_where_it_is_required(tiny, tmp_path):
    with pytest.raises(ArtifactError, match="resume is required, but there is no"):
        train_model(tiny.plan("tabular", tmp_path, resume="required"))


def test_a_finished_training_goes_on_for_more_epochs(finished, tiny, tmp_path):
    more = finished(max_epochs=2, resume="required")
    trained = train_model(more)
    fresh = tiny.plan("tabular", tmp_path / "fresh", max_epochs=2, run_scheduler=False)
    whole = train_model(fresh)
    assert digest(trained.model.state_dict()) == digest(whole.model.state_dict())
    last = [
        checkpoint_values(plan.checkpoints / LAST)["state_dict"]
        for plan in (more, fresh)
    ]
    assert digest(last[0]) == digest(last[1])


def test_more_epochs_with_other_numbers_of_batches_are_the_same_bits(tiny, tmp_path):
    settings = {"run_scheduler": False, "warmup_steps": 0, "max_tokens_per_batch": 60}

    def plan(folder, **changes):
        return tiny.plan("multimodal_bert", folder, **settings | changes)

    train_model(plan(tmp_path, max_epochs=2))
    more = plan(tmp_path, max_epochs=4, resume="required")
    fresh = plan(tmp_path / "fresh", max_epochs=4)
    batches = epoch_batches(fresh.train, fresh.config)
    assert len({batches.count(epoch) for epoch in range(4)}) > 1
    trained, whole = train_model(more), train_model(fresh)
    assert digest(trained.model.state_dict()) == digest(whole.model.state_dict())
    last = [
        checkpoint_values(plan.checkpoints / LAST)["state_dict"]
        for plan in (more, fresh)
    ]
    assert digest(last[0]) == digest(last[1])
