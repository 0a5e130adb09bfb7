"""When a trial is evaluated, and when it may stop early.

Both can change the numbers, so both are identity.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from scalelab.core.errors import UserError
from scalelab.core.metrics import is_lower_better
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Number


class Threshold(Spec):
    """When a metric is good enough: from below, or for a loss from above."""

    metric: str = "recall"
    """The metric that decides."""
    at_least: Number = 0.95
    """The threshold."""
    at_most: Number | None = None
    """The threshold of a metric of which less is better, such as a loss; `at_least` then means
    nothing.
    """

    @model_validator(mode="after")
    def _ways_fit(self) -> Self:
        if is_lower_better(self.metric) != (self.at_most is not None):
            wanted = "at_most" if self.at_most is None else "at_least"
            raise UserError(
                f"of `{self.metric}` {'less' if self.at_most is None else 'more'} is better",
                cure=f"write `{wanted}`",
            )
        return self

    def is_met(self, value: float) -> bool:
        """Whether the value is good enough; NaN never is."""
        return value >= self.at_least if self.at_most is None else value <= self.at_most


class Stop(Threshold):
    """Early stop: the metric has reached the threshold in `patience` evaluations in a row."""

    metric: str = "recall"
    """The metric to watch, of those of every evaluation: `loss`, `recall`, `recall_unseen`,
    `recall_permuted` (in-tool) or `bits_per_fact`; for biographies `loss`, `bits`,
    `bits_per_param`, `recall`...; for text `loss` or `validation_loss`; for arithmetic `loss`,
    `validation_loss`, `accuracy` (the mean over lengths) or `accuracy_questions`.
    """
    patience: Count = 2
    """Evaluations in a row that must reach it."""


class Decoding(Spec):
    """How fast a trained text model decodes: measured at the end of its trial, for every context
    and number of lanes.
    """

    contexts: Annotated[tuple[Count, ...], Field(fail_fast=True)] = ()
    """Positions that lie in the cache while decoding is timed; the task's context where none is
    given.
    """
    lanes: Annotated[tuple[Annotated[Count, Field(le=65_536)], ...], Field(fail_fast=True)] = (1,)
    """Sequences that are decoded at once."""


class Evaluation(Spec):
    """Evaluations at log-spaced steps, and one at the end."""

    first: Count = 100
    """The first step that is evaluated."""
    ratio: Annotated[Number, Field(ge=1.0001)] = 1.3
    """Each evaluated step is about this many times the one before."""
    decoding: Decoding | None = None
    """Measure decoding speed at the end, with and without a cache (text tasks); `null` does not."""
    stop: Stop | None = None
    """Early stop; `null` trains to the end of the budget."""

    def steps(self, last: int) -> list[int]:
        """The evaluated steps up to and with `last`, ascending."""
        chosen, step = [], float(self.first)
        while step < last:
            if not chosen or round(step) > chosen[-1]:
                chosen.append(round(step))
            step *= self.ratio
        return [*chosen, last]
