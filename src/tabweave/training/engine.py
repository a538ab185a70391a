"""Runs a training, here or in several processes, and gives the best model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L

from tabweave.models.classifier import Classifier
from tabweave.models.registry import build_model
from tabweave.models.row_vectors import frozen_rows
from tabweave.storage.artifacts import content_hash
from tabweave.storage.processes import die_with_parent
from tabweave.text.encoder_files import encoder_digest
from tabweave.training.checkpoints.checkpoint import load_weights
from tabweave.training.checkpoints.resume import resumable
from tabweave.training.config import TrainingConfig
from tabweave.training.device import chosen_precision
from tabweave.training.fitting import fit, fit_in_rank
from tabweave.training.measures.history import hyperparameters
from tabweave.training.plan import TrainingPlan
from tabweave.training.processes.launch import Ranks, launch

MAY_CHANGE = TrainingConfig.OF_THE_RUN | {
    "max_epochs",
    "log_every_n_steps",
    # The number of all processes counts, and is noted by itself.
    "devices",
    "num_nodes",
    "threads",
}
"""Parameters that may be others when a training goes on."""


@dataclass(frozen=True)
class TrainedModel:
    """The best model of a run, and how the run went."""

    model: Classifier
    history: dict[str, Any] = field(default_factory=dict)


def train_model(plan: TrainingPlan) -> TrainedModel:
    """Trains and returns the model of the best checkpoint.

    Same plan, seed, threads and number of processes: same bytes of the weights.

    Raises:
        ArtifactError: There is no checkpoint to go on from, and one is required.
        TrainingError: The plan does not fit together, or training cannot go on.
    """
    die_with_parent()
    ranks = Ranks.of(plan.config)
    plan = _begun(replace(plan, identity=identity(plan, ranks.world)))
    if ranks.world == 1:
        module, outcome = fit(plan)
        model = module.model
    else:
        _prepare_vectors(plan)
        outcome = launch((fit_in_rank, (plan,)), ranks, plan.rank_logs)
        model = build_model(plan.spec, plan.encoders)
    load_weights(model.set_layout("packed"), outcome.checkpoint)
    return TrainedModel(model.eval(), outcome.history)


def identity(plan: TrainingPlan, world: int = 1) -> dict[str, Any]:
    """What makes a training the one it is: parameters, data, encoders, processes."""
    groups = hyperparameters(model=plan.spec.model, training=plan.config)
    may_change = {f"training.{name}" for name in MAY_CHANGE}
    found = {name: value for name, value in groups.items() if name not in may_change}
    found["training.precision"] = chosen_precision(plan.config.precision)
    found["processes"] = world
    found["classes"] = list(plan.spec.classes)
    for split, rows in (("train", plan.train), ("val", plan.val)):
        found[f"data of {split} tokens"] = content_hash(rows.token_file.path)
        found[f"data of {split} features"] = content_hash(rows.feature_file.path)
    for text, source in zip(plan.spec.text, plan.encoders, strict=True):
        digest = None if source == "scratch" else encoder_digest(source)
        found[f"encoder of {text.name}"] = [source, digest]
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """As a checkpoint keeps it: lists in place of tuples."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return value


def _begun(plan: TrainingPlan) -> TrainingPlan:
    """The plan with the checkpoint to go on from, if there is one and it is wanted."""
    how = plan.config.resume
    if how == "never":
        return plan
    found = resumable(plan.checkpoints, plan.identity, required=how == "required")
    return replace(plan, resume=found)


def _prepare_vectors(plan: TrainingPlan) -> None:
    """Computes the vectors of frozen encoders once, for all processes to read."""
    if plan.spec.model.encoder_training == "frozen":
        L.seed_everything(plan.config.seed, workers=True, verbose=False)
        model = build_model(plan.spec, plan.encoders)
        frozen_rows(model, (plan.train, plan.val), plan.vectors)
