"""When a trial is evaluated, and when it may stop early.

Both can change the numbers, so both are identity.
"""

from typing import Annotated

from pydantic import Field

from scalelab.core.spec import Spec
from scalelab.core.threshold import Threshold
from scalelab.core.units import Count, Number


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
