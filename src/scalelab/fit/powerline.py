"""A power of compute, value = factor * C^exponent, through points or draws of points, with a band.

Shape letters: B draws, K points, X places.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.fit.censored import Floats
from scalelab.fit.estimate import Estimate, estimate


@dataclass(frozen=True)
class PowerLine:
    """A line through the logarithms.

    `center` is where the points' log C has its mean: there the height is known best.
    """

    center: float
    height: float
    slope: float
    draws_B2: Floats
    """Height and slope of every draw; NaN where a draw has no line."""

    @property
    def exponent(self) -> Estimate:
        """The power of compute, with its interval."""
        return estimate(self.slope, self.draws_B2[:, 1])

    def at(self, flops_X: Floats) -> Floats:
        """[X] the value at these FLOPs."""
        return np.exp(self.height + self.slope * (np.log(flops_X) - self.center))

    def draws_at(self, flops_X: Floats) -> Floats:
        """[B, X] the value in every draw."""
        return np.exp(self.draws_B2[:, :1] + self.draws_B2[:, 1:] * (np.log(flops_X) - self.center))

    def to_json(self) -> dict[str, Any]:
        """Plain values: factor and exponent."""
        return {
            "factor": float(np.exp(self.height - self.slope * self.center)),
            "exponent": self.exponent.to_json(),
        }


def power_line(flops_K: Floats, value_K: Floats, drawn_BK: Floats) -> PowerLine | None:
    """The least-squares line through the logarithms, and the line of every draw; None with fewer
    than two different FLOPs.

    A draw's points that are not finite are left out of it.
    """
    x_K = np.log(flops_K)
    if x_K.size < 2 or np.ptp(x_K) == 0:
        return None
    center = float(x_K.mean())
    with np.errstate(all="ignore"):
        lines = _lines(x_K - center, np.log(np.vstack([value_K[None, :], drawn_BK])))
    return PowerLine(center, float(lines[0, 0]), float(lines[0, 1]), lines[1:])


def _lines(x_K: Floats, y_BK: Floats) -> Floats:
    """[B, 2] height at x = 0 and slope."""
    known_BK = np.isfinite(y_BK)
    y_BK = np.where(known_BK, y_BK, 0.0)
    count_B = known_BK.sum(axis=1)
    mean_x_B, mean_y_B = (known_BK * x_K).sum(axis=1) / count_B, y_BK.sum(axis=1) / count_B
    away_BK = known_BK * (x_K - mean_x_B[:, None])
    spread_B = (away_BK**2).sum(axis=1)
    slope_B = (away_BK * y_BK).sum(axis=1) / np.where(spread_B > 0, spread_B, np.nan)
    return np.stack([mean_y_B - slope_B * mean_x_B, slope_B], axis=1)
