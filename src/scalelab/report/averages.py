"""What metrics are averages of, where their names leave that open; each task says it of its own."""

import polars as pl

from scalelab.tasks import KINDS
from scalelab.tasks.task import TaskSpec


def labelled(metric: str, trials: pl.DataFrame) -> str:
    """The name of a metric of these trials, with what it is an average of where that is not
    plain.
    """
    return next((task.labels[metric] for task in _tasks(trials) if metric in task.labels), metric)


def averages(trials: pl.DataFrame) -> list[str]:
    """What the metrics of these trials are averages of, for a page's methods."""
    return [task.averages for task in _tasks(trials) if task.averages]


def _tasks(trials: pl.DataFrame) -> list[type[TaskSpec]]:
    """The tasks of these trials; rows of published tables may name others, or none."""
    if "task.kind" not in trials.columns:
        return []
    kinds = trials["task.kind"].unique().to_list()
    return [task for kind, task in KINDS.items() if kind in kinds]
