"""A number with what is known about its error.

Shape letters: B draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.fit.censored import Floats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A coefficient, or what follows from coefficients."""

    value: float
    se: float | None = None
    """Standard error: the standard deviation of the draws; None where there are too few."""
    ci95: Interval | None = None
    """Of the law's value: how well the mean is known."""
    prediction95: Interval | None = None
    """Of one more run there: the scatter of runs about the law counted in."""
    p: float | None = None
    """Of a difference or a ratio: the two-sided p-value of there being none."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `prediction95` and `p` where it has them."""
        plain: dict[str, Any] = {
            "value": self.value,
            "se": self.se,
            "ci95": None if self.ci95 is None else list(self.ci95),
        }
        if self.prediction95 is not None:
            plain["prediction95"] = list(self.prediction95)
        return plain if self.p is None else plain | {"p": self.p}


ENOUGH = 40
"""With fewer draws there is no interval: its ends would be the extreme draws."""

KNOWN = 0.9
"""Where a smaller part of the draws has a finite value, what it is an interval of is in doubt, and
there is none.
"""


def estimate(
    value: float, draws_B: Floats, prediction_B: Floats | None = None, stretch: float = 1.0
) -> Estimate:
    """A value with the standard deviation and the central 95 % of its draws.

    An interval that would leave out the value ends at it. `stretch` is how much wider than their
    standard error the draws lie (see `bootstrap.Draws`).
    """
    se, ci95 = _spread(draws_B)
    prediction95 = None if prediction_B is None else _spread(prediction_B)[1]
    return Estimate(
        float(value),
        None if se is None else se / stretch,
        _holding(ci95, float(value)),
        _holding(prediction95, float(value)),
    )


def _holding(ends: Interval | None, value: float) -> Interval | None:
    if ends is None or not np.isfinite(value):
        return ends
    return min(ends[0], value), max(ends[1], value)


def interval(draws_B: Floats) -> Interval | None:
    """The central 95 % of draws; None where too few of them are finite."""
    return _spread(draws_B)[1]


def _spread(draws_B: Floats) -> tuple[float | None, Interval | None]:
    kept = draws_B[np.isfinite(draws_B)]
    if kept.size < max(ENOUGH, KNOWN * draws_B.size):
        return None, None
    low, high = np.quantile(kept, (0.025, 0.975))
    with np.errstate(over="ignore"):
        se = float(kept.std(ddof=1))
    return se if np.isfinite(se) else None, (float(low), float(high))
