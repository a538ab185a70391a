"""Short runs of the trainer, and what they leave."""

import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from tabweave.batching.batches import as_is
from tabweave.batching.sampling import SortedBatches
from tabweave.evaluation.metrics import MetricResult
from tabweave.training.engine import train_model
from tabweave.training.epochs import Epochs
from tabweave.training.fitting import epoch_batches
from tabweave.training.module import TrainingModule, Validation


@pytest.fixture(autouse=True)
def one_thread():
    """A run may set the threads: they are put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Scripted:
    """A metric ``val/score`` with given values, the last one for ever."""

    def __init__(self, *values):
        self.values, self.calls = list(values), []

    def __call__(self, probabilities, labels):
        self.calls.append((probabilities.copy(), labels.copy()))
        value = self.values[min(len(self.calls), len(self.values)) - 1]
        return MetricResult({"val/score": value})


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture
def read_events():
    """Every scalar of a folder of TensorBoard events: name -> {step: value}."""

    def read(folder):
        events = EventAccumulator(str(folder)).Reload()
        return {
            tag: {event.step: event.value for event in events.Scalars(tag)}
            for tag in events.Tags()["scalars"]
        }

    return read


class Watcher(Callback):
    """Calls functions with the module and the outputs of every step."""

    def __init__(self, before=None, after=None):
        self.before, self.after = before, after

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.before:
            self.before(pl_module, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.after:
            self.after(pl_module, batch, outputs)


@pytest.fixture
def fit(tiny, tmp_path):
    """Trains a tiny model with the bare trainer; returns the trainer and the module.

    The learning rate is that of the configuration, for encoders too.
    """

    def run(
        model_class="multimodal_bert",
        *,
        before=None,
        after=None,
        weights=None,
        prepare=None,
        callbacks=(),
        **training,
    ):
        plan = tiny.plan(model_class, tmp_path, **training)
        model = tiny.model(model_class)
        if prepare:
            prepare(model)
        config = plan.config
        rates = [config.encoder_rate(scratch=True)] * len(model.text_encoders)
        batches = epoch_batches(plan.train, config)
        row_weights = None if weights is None else weights.numpy()[plan.train.labels]
        epochs = Epochs(batches, config, row_weights)
        order = SortedBatches(plan.val.token_counts(), 7)
        validation = Validation(order, plan.val.labels, plan.metric)
        module = TrainingModule(model, rates, weights, epochs, validation)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            trainer = L.Trainer(
                accelerator="cpu",
                max_epochs=config.max_epochs,
                gradient_clip_val=config.gradient_clip_val or None,
                accumulate_grad_batches=config.accumulate_grad_batches,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=any(hasattr(c, "bar") for c in callbacks),
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                callbacks=[Watcher(before, after), *callbacks],
            )
            trainer.fit(
                module,
                DataLoader(plan.train, batch_sampler=epochs.batches, collate_fn=as_is),
                DataLoader(plan.val, batch_sampler=order, collate_fn=as_is),
            )
        return trainer, module

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Where `trained` leaves its files."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trained(tiny, run_folder):
    """Two epochs of two validations; every step is logged."""
    return train_model(tiny.plan("trimodal_bert", run_folder, log_every_n_steps=1))
