"""Data of the tasks: deterministic, the same on every machine, and free of torch."""

from typing import overload

from scalelab.data import shape
from scalelab.data.biography import BiographyData, BitPools, Probes, sizes
from scalelab.data.facts import FactsData, Questions, Rows
from scalelab.data.shape import TaskShape
from scalelab.spec.task import Biography, Facts, Task

__all__ = ["BiographyData", "BitPools", "FactsData", "Probes", "Questions", "Rows", "TaskShape", "build", "describe"]

FOLDER = "results/data"
"""Where prepared corpora lie unless an execution says otherwise."""


@overload
def build(task: Facts, folder: str = ...) -> FactsData: ...
@overload
def build(task: Biography, folder: str = ...) -> BiographyData: ...
def build(task: Task, folder: str = FOLDER) -> FactsData | BiographyData:
    """The data of a task. Raises UserError if `task.context` is too short for it."""
    return BiographyData(task) if isinstance(task, Biography) else FactsData(task)


def describe(task: Task, folder: str = FOLDER) -> TaskShape:
    """The sizes of a task, counted without building a batch; cached. Raises UserError where `build` does."""
    return sizes.shape(task) if isinstance(task, Biography) else shape.describe(task)
