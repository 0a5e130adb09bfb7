"""Which metrics a trial reports, by its task and its model: at every evaluation, where an early
stop or a pruner may watch them, and at its end, where a search may decide by them.

How far a trial came and how fast are not among them, which the plan and the clock know, nor what
there is of each layer, expert or step.
"""

from typing import get_args

from scalelab.core.metrics import POSITIONS, SPEEDS
from scalelab.spec.experiment import Trial
from scalelab.tasks import Task

EXPERTS = ("max_vio", "router_entropy", "dropped")
"""How experts, or the layers of a pool, were used: means over layers, or over steps."""
_ROUTES = ("sequence_entropy", "steps_mean", "order_kept", "order_distance")
OF_MODELS = (*EXPERTS, "test_max_vio", *_ROUTES, "identity_share")
"""Metrics that trials of some models alone report."""

_TASKS = get_args(get_args(Task)[0])
MAIN = tuple(dict.fromkeys(task.main_metric for task in _TASKS))
"""The main metrics of the tasks."""
NAMES = frozenset(
    name for task in _TASKS for name in (*task().measures, *task().concludes, *task.sometimes)
).union(OF_MODELS, POSITIONS, SPEEDS)
"""Metrics that trials report, of whatever task and model, how far they came and how fast among
them.
"""


def measured(trial: Trial) -> tuple[str, ...]:
    """Metrics of every evaluation of a trial."""
    pool = trial.model.layer_pool
    steps = ("steps_mean",) if pool is not None and pool.halts else ()
    return (*trial.task.measures, *_experts(trial), *steps)


def concluded(trial: Trial) -> tuple[str, ...]:
    """Metrics that a trial ends with."""
    found = [*trial.task.concludes, *_experts(trial)]
    if trial.task.measures_load and trial.model.mixture is not None:
        found.append("test_max_vio")
    pool = trial.model.layer_pool
    if pool is not None and trial.task.measures_routes:
        found += _ROUTES
        found += ["identity_share"] if pool.identity else []
    return tuple(found)


def _experts(trial: Trial) -> tuple[str, ...]:
    return EXPERTS if trial.model.layer_pool or trial.model.mixture else ()
