"""Data of the tasks: deterministic, the same on every machine, and free of torch."""

from scalelab.data.facts import FactsData, Questions, Rows
from scalelab.data.shape import TaskShape, describe
from scalelab.spec.task import Facts

__all__ = ["FactsData", "Questions", "Rows", "TaskShape", "build", "describe"]


def build(task: Facts) -> FactsData:
    """The data of a task. Raises UserError if `task.context` is shorter than the longest dialog."""
    return FactsData(task)
