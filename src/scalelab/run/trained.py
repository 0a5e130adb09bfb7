"""Trained models of stored trials: one is loaded, and those of an experiment are ranked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError, nearest
from scalelab.core.events import is_pruned
from scalelab.core.metrics import is_lower_better
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.store.reader import Reader
from scalelab.store.records import TrialDetails
from scalelab.tasks import build
from scalelab.tasks.task import TaskData

if TYPE_CHECKING:
    import torch

    from scalelab.families.language_model import LanguageModel


@dataclass(frozen=True)
class TrainedModel:
    """A model with its weights, in evaluation mode, and the data of its task."""

    model: "LanguageModel"
    data: TaskData
    device: "torch.device"


def load_trained(stored: TrialDetails, data: str, where: str) -> TrainedModel:
    """The model of a stored trial. `data` is where prepared corpora lie, `where` names the store in
    errors.

    Raises UserError if the trial has no model.
    """
    from scalelab.train.loading import load_model
    from scalelab.train.numerics import pick_device

    check_ran_here(stored, where)
    short, state = stored.record.digest[:SHORT], stored.result.state
    if state not in ("done", "stopped"):
        cure = (
            "its weights are no numbers; name another"
            if state == "diverged"
            else "name a finished trial of `scalelab ls`"
        )
        raise UserError(f"trial {short} is {state}", cure=cure, where=where)
    if "model" not in stored.artifacts:
        raise UserError(
            f"the model of trial {short} was not kept",
            cure="run it into another store with `--artifacts`",
            where=where,
        )
    trial = Trial.model_validate(stored.record.trial)
    built, device = build(trial.task, data), pick_device(Execution())
    model = load_model(trial, stored.artifacts, built.shape, device)
    return TrainedModel(model, built, device)


def check_ran_here(stored: TrialDetails, where: str) -> None:
    """Raises UserError for a trial that came with a table."""
    if stored.record.origin != "run":
        raise UserError(
            f"trial {stored.record.digest[:SHORT]} is imported and has no model",
            cure="name a trial that ran here",
            where=where,
        )


def rank_trained(
    store: Reader, experiment: str, metric: str | None, where: str
) -> tuple[str, list[str]]:
    """The metric, by default the task's main one, and the digests of an experiment's trained models
    that have it, the best first.

    Raises UserError if there are none.
    """
    members = store.members(experiment)
    ended = [
        one
        for one in members
        if one.state in ("done", "stopped")
        if not is_pruned(one.state, one.metrics)
        if one.record.origin == "run"
    ]
    if members and all(one.record.origin != "run" for one in members):
        raise UserError(
            f"the trials of `{experiment}` are imported and have no models",
            cure="name an experiment that ran here",
            where=where,
        )
    if not ended:
        raise UserError(f"no trial of `{experiment}` is finished", cure="run it first", where=where)
    if metric is None:
        metric = Trial.model_validate(ended[0].record.trial).task.main_metric
    having = [(one.metrics[metric], one.digest) for one in ended if metric in one.metrics]
    if not having:
        known = sorted({name for one in ended for name in one.metrics})
        raise UserError(
            f"no finished trial of `{experiment}` has the metric `{metric}`",
            cure=nearest(metric, known),
            where=where,
        )
    return metric, [digest for _, digest in sorted(having, reverse=not is_lower_better(metric))]
