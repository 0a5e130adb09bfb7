"""Arithmetic with numbers as bytes."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from scalelab.core.units import Count, Whole
from scalelab.tasks.task import TaskSpec


class Arithmetic(TaskSpec):
    """Sums as bytes: `12+7=19`, and an end. How far does what is learned carry to
    longer numbers?
    """

    main_metric: ClassVar[str] = "accuracy"
    sometimes: ClassVar[tuple[str, ...]] = ("accuracy_longer",)
    averages: ClassVar[str] = (
        "In arithmetic, accuracy is the share of the questions of a length that are answered"
        " exactly, as the mean over the lengths that are trained on, whatever the number of"
        " questions of each (10 to 30 of length 1, 500 of the others); accuracy_questions the share"
        " of all of these questions; accuracy_longer the mean over the longer lengths. Losses on"
        " questions are means over the lengths too."
    )
    labels: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy (mean over lengths)",
        "accuracy_longer": "accuracy_longer (mean over lengths)",
        "accuracy_questions": "accuracy_questions (of all questions)",
    }
    knows_used: ClassVar[bool] = True
    temperature: ClassVar[float] = 0.0
    measures_routes: ClassVar[bool] = True

    kind: Literal["arithmetic"] = "arithmetic"
    operation: Literal["addition", "multiplication", "chain"] = "addition"
    """`addition` and `multiplication` of two numbers; `chain`: one-digit steps (+, -, *) modulo 10
    from left to right.
    """
    length: Count = 3
    """Most digits of a number (or operations of a chain) that are trained on; examples are drawn
    evenly from 1 to here.
    """
    longest: Count = 5
    """Lengths beyond `length` and up to here are tested, and never trained on."""
    reversed: bool = False
    """Write answers with the last digit first (arXiv 2307.03381)."""
    context: Count | None = None
    """Tokens in a window: the longest example where it is not given."""
    world: Whole = 0
    """Which examples are held out for the test."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Metrics of every evaluation, whatever the model."""
        return ("loss", "accuracy", "accuracy_questions", "validation_loss")

    @property
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""
        by_length = [f"accuracy_{length}" for length in range(1, self.longest + 1)]
        longer = ["accuracy_longer"] if self.longest > self.length else []
        return (*self.measures, *by_length, *longer, "flops_per_token")

    @model_validator(mode="after")
    def _lengths_ascend(self) -> Self:
        if self.longest < self.length:
            raise ValueError(
                f"`longest` ({self.longest}) is below `length` ({self.length}); it is the longest"
                " that is tested, trained on or not"
            )
        return self
