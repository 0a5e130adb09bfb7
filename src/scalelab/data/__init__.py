"""Data of the tasks: deterministic, the same on every machine, and free of torch."""

from typing import overload

from scalelab.data import arithmetic, shape, text
from scalelab.data.arithmetic import ArithmeticData, Sums
from scalelab.data.biography import BiographyData, BitPools, Probes, sizes
from scalelab.data.facts import FactsData, Questions, Rows
from scalelab.data.shape import TaskShape
from scalelab.data.text import NotPrepared, TextData
from scalelab.spec.task import Biography, Facts, Task
from scalelab.spec.text import Arithmetic, Text

__all__ = [
    "ArithmeticData",
    "BiographyData",
    "BitPools",
    "Data",
    "FactsData",
    "NotPrepared",
    "Probes",
    "Questions",
    "Rows",
    "Sums",
    "TaskShape",
    "TextData",
    "build",
    "describe",
]

Data = FactsData | BiographyData | TextData | ArithmeticData
"""The data of any task."""

FOLDER = "results/data"
"""Where prepared corpora lie unless an execution says otherwise."""


@overload
def build(task: Facts, folder: str = ...) -> FactsData: ...
@overload
def build(task: Biography, folder: str = ...) -> BiographyData: ...
@overload
def build(task: Arithmetic, folder: str = ...) -> ArithmeticData: ...
@overload
def build(task: Text, folder: str = ...) -> TextData: ...
@overload
def build(task: Task, folder: str = ...) -> Data: ...
def build(task: Task, folder: str = FOLDER) -> Data:
    """The data of a task.

    Raises UserError if `task.context` does not suit it, or its corpus is not prepared in `folder`.
    """
    match task:
        case Facts():
            return FactsData(task)
        case Biography():
            return BiographyData(task)
        case Text():
            return TextData(task, folder)
        case Arithmetic():
            return ArithmeticData(task)


def describe(task: Task, folder: str = FOLDER) -> TaskShape:
    """The sizes of a task, counted without building a batch; cached.

    Raises UserError where `build` does.
    """
    match task:
        case Facts():
            return shape.describe(task)
        case Biography():
            return sizes.shape(task)
        case Text():
            return text.describe(task, folder)
        case Arithmetic():
            return arithmetic.describe(task)
