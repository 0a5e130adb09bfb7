"""From an experiment to its trials: axes are set, sizes solved, budgets turned into steps, costs
counted. Pure.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

from pydantic import ValidationError

from scalelab.core.errors import UserError, nearest
from scalelab.core.spec import Spec
from scalelab.data.text.manifest import NotPrepared
from scalelab.families.cost import Bounds, Parameters, parameters
from scalelab.plan.solve import solve, solved_sizes
from scalelab.spec.axes import AxisError, Point, laid, paths, points
from scalelab.spec.budget import Budget
from scalelab.spec.experiment import Experiment, Trial
from scalelab.spec.load import Document, axis_loc, explained, written
from scalelab.spec.reported import concluded, measured
from scalelab.tasks import describe
from scalelab.tasks.task import TaskShape

MOST_TOKENS = 2**63 - 1
"""Tokens of a trial: what a database column holds."""


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A resolved trial with what is known of it before it runs."""

    trial: Trial
    digest: str
    axes: Point
    """Spec path -> value, as the spec's axes set them and the trial reads them; `arm` -> the arm's
    name.
    """
    replicate: int
    params: Parameters
    steps: int
    """Optimizer updates; the most there can be, where a budget of FLOPs is spent by what the data
    make a model run.
    """
    tokens: int
    """Positions trained on: steps x batch x context."""
    exposures: float
    """Training passes over each fact."""
    flops: int
    """Training FLOPs; the most there can be, where they depend on the data."""
    flops_least: int
    """The least there can be."""
    solved: tuple[str, ...] = ()
    """Paths of the sizes that were solved."""
    layers_sha256: str | None = None
    """Of the file whose layers it takes: a run fills it in as it hands the trial out."""

    @property
    def ends_in_warmup(self) -> bool:
        """Whether it never reaches its learning rate."""
        return self.trial.optim.schedule.warmup >= self.steps


@dataclass(frozen=True)
class Plan:
    """The trials of an experiment, in the order of its axes; each digest once."""

    experiment: Experiment
    trials: list[PlannedTrial]
    document: Document
    """Where the experiment is written down."""


def compile_plan(experiment: Experiment, document: Document) -> Plan:
    """Every trial of an experiment. Raises UserError with the place of what cannot be."""

    def search_place(field: str) -> str:
        return document.place(("search", field))

    experiment.search.check_axes(paths(experiment.axes), search_place)
    base = _base(document)
    found: dict[str, PlannedTrial] = {}
    for (arm, settings), point in product(
        (experiment.arms or {"": {}}).items(), points(experiment.axes)
    ):
        trial = _trial(base, settings | point, document, arm)
        _check_metrics(trial, experiment, document)
        _check_micro_batch(trial, experiment, document)
        axes = {**({"arm": arm} if arm else {}), **_read(trial, point)}
        for planned in _replicates(trial, axes, experiment, document):
            found.setdefault(planned.digest, planned)
    experiment.search.check_trials(found.values(), search_place)
    _check_arms(experiment, found.values(), document)
    return Plan(experiment, list(found.values()), document)


def _check_arms(
    experiment: Experiment, planned: Iterable[PlannedTrial], document: Document
) -> None:
    """An arm without a trial of its own would be missing from every figure, without a word."""
    present = {one.axes.get("arm") for one in planned}
    for arm in experiment.arms:
        if arm not in present:
            raise UserError(
                f"every trial of the arm `{arm}` is a trial of an arm above it",
                cure="change what it sets, or leave it out",
                where=document.place(("arms", arm)),
            )


def compile_point(experiment: Experiment, document: Document, point: Point) -> PlannedTrial:
    """The one trial of an experiment without axes at a point.

    Raises UserError with the place of what cannot be.
    """
    trial = _trial(_base(document), point, document)
    _check_metrics(trial, experiment, document)
    _check_micro_batch(trial, experiment, document)
    return _replicates(trial, _read(trial, point), experiment, document)[0]


def _base(document: Document) -> dict[str, Any]:
    """What the user wrote of a trial, and no more: an axis may change a `kind`, and then the other
    kind's defaults must not linger.
    """
    return {key: value for key, value in document.data.items() if key not in Experiment.outside}


def _check_metrics(trial: Trial, experiment: Experiment, document: Document) -> None:
    stop, threshold = trial.evaluation.stop, experiment.search.threshold
    if stop is not None and stop.metric not in measured(trial):
        cure = nearest(stop.metric, list(measured(trial)))
        raise UserError(
            f"no evaluation measures `{stop.metric}`",
            cure=cure,
            where=document.place(("evaluation", "stop", "metric")),
        )
    if threshold is not None and threshold.metric not in concluded(trial):
        cure = nearest(threshold.metric, list(concluded(trial)))
        raise UserError(
            f"no trial ends with a metric `{threshold.metric}`",
            cure=cure,
            where=document.place(("search", "metric")),
        )


def _check_micro_batch(trial: Trial, experiment: Experiment, document: Document) -> None:
    if trial.model.couples_batch and isinstance(experiment.execution.micro_batch, int):
        what = (
            "the balance of the experts couples the sequences of a micro-batch, so its size can"
            " change the numbers"
        )
        cure = (
            "write `micro_batch` beside `batch` and leave `execution.micro_batch` out, or say `per:"
            " sequence`"
        )
        raise UserError(what, cure=cure, where=document.place(("execution", "micro_batch")))


def _trial(base: dict[str, Any], point: Point, document: Document, arm: str = "") -> Trial:
    try:
        data = laid(base, point)
    except AxisError as error:
        where = document.place(axis_loc(document, error.path, arm))
        raise error.at(where, about=f"the axis `{error.path}` ") from error
    try:
        return Trial.model_validate(data)
    except ValidationError as error:
        fault = explained(error, Document(data, document.places, document.path), Trial)
        raise UserError(
            fault.what,
            cure=fault.cure,
            where=_axis_place(error, fault.paths, data, point, document, arm) or fault.where,
        ) from error


def _read(trial: Trial, point: Point) -> Point:
    """The point with its values as the trial reads them: `10k` and `1e4` are both 10,000. A whole
    part stays as it is written.
    """
    found = {path: reduce(getattr, path.split("."), trial) for path in point}
    return {
        path: point[path] if isinstance(value, Spec | tuple) else value
        for path, value in found.items()
    }


def _axis_place(
    error: ValidationError,
    paths: Sequence[str],
    data: dict[str, Any],
    point: Point,
    document: Document,
    arm: str,
) -> str:
    """The line of the axis, or in the arm, that set the wrong value, or empty.

    Of a fault of a whole part: of one of the `paths` that it is about.
    """
    for path in point:
        if path in paths:
            return document.place(axis_loc(document, path, arm))
    loc = [
        str(part)
        for part in written(
            error.errors()[0]["loc"], data, missing=error.errors()[0]["type"] == "missing"
        )
    ]
    for path in point:
        steps = path.split(".")
        if loc[: len(steps)] == steps or steps[: len(loc)] == loc:
            return document.place(axis_loc(document, path, arm))
    return ""


def _replicates(
    trial: Trial, point: Point, experiment: Experiment, document: Document
) -> list[PlannedTrial]:
    shape = _described(trial, experiment.execution.data, document)
    try:
        sizes = (shape.vocab, shape.context, trial.budget.params)
        model = solve(
            trial.model, *sizes, used=shape.used, where=document.place(("budget", "params"))
        ).resolved()
    except UserError as error:
        at = ", ".join(f"{path} {value}" for path, value in point.items())
        raise UserError(
            f"{error.what} (at {at})" if at else error.what, cure=error.cure, where=error.where
        ) from error
    params = parameters(model, shape.vocab, shape.context, shape.used)
    each = model.train_bounds(shape.vocab, shape.context, shape.targets)
    steps = num_steps(trial.budget, shape, trial.batch, each)
    if steps * trial.batch * shape.context > MOST_TOKENS:
        raise UserError(
            f"a trial trains on {steps * trial.batch * shape.context:.3g} tokens",
            cure=f"take at most {MOST_TOKENS:.3g}",
            where=document.place(("budget",)),
        )
    is_metered = trial.budget.flops is not None and not each.is_exact
    budget = Budget(flops=trial.budget.flops) if is_metered else Budget(steps=steps)
    flops = _spent(budget, steps, each * trial.batch)
    micro_batch = (
        None if trial.micro_batch is None or trial.micro_batch >= trial.batch else trial.micro_batch
    )
    settled = {
        "task": trial.task.settled(shape),
        "model": model,
        "budget": budget,
        "micro_batch": micro_batch,
    }
    resolved = trial.model_copy(update=settled)
    found: list[PlannedTrial] = []
    for replicate in range(experiment.replicates):
        one = resolved.model_copy(update={"seed": trial.seed + replicate})
        found.append(
            PlannedTrial(
                trial=one,
                digest=one.digest(),
                axes=point,
                replicate=replicate,
                params=params,
                steps=steps,
                tokens=steps * trial.batch * shape.context,
                exposures=steps * trial.batch / shape.sequences,
                flops=flops.most,
                flops_least=flops.least,
                solved=tuple(solved_sizes(trial.model)),
            )
        )
    return found


def _described(trial: Trial, folder: str, document: Document) -> TaskShape:
    try:
        return describe(trial.task, folder)
    except NotPrepared as error:
        raise error.at(document.place(("task", "corpus"))) from error
    except UserError as error:
        raise error.at(document.place(("task", "context"))) from error


def num_steps(budget: Budget, shape: TaskShape, batch: int, each: Bounds) -> int:
    """Optimizer updates that spend a budget; the last one may overshoot it.

    `each` are the training FLOPs of a sequence.

    Where these depend on the data a budget of FLOPs is spent by a meter, and these are the most
    updates that there can be.
    """
    if budget.steps is not None:
        return budget.steps
    if budget.exposures is not None:
        return math.ceil(budget.exposures * shape.sequences / batch)
    if budget.tokens is not None:
        return math.ceil(budget.tokens / (batch * shape.context))
    assert budget.flops is not None
    return -(-budget.flops // (batch * each.least))


def _spent(budget: Budget, steps: int, update: Bounds) -> Bounds:
    """FLOPs of a trial; a meter ends it with the update that spends its budget."""
    if budget.flops is None:
        return update * steps
    return Bounds(budget.flops, min(steps * update.most, budget.flops + update.most - 1))
