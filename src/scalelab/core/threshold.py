"""Thresholds: when a metric is good enough."""

from typing import Self

from pydantic import model_validator

from scalelab.core.errors import UserError
from scalelab.core.metrics import is_lower_better
from scalelab.core.spec import Spec
from scalelab.core.units import Number


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
