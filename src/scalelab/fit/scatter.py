"""Intervals from the scatter of the cells about a law, for where replicates agree and tell nothing.

Sizes lie on a grid, so replicates often give one answer; the law is then as sure as the cells'
means lie close to it. C cells, P coefficients.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from scalelab.fit.censored import Floats
from scalelab.fit.resample import Interval


@dataclass(frozen=True)
class Scatter:
    """The covariance of a law's coefficients by least squares over the cells' means, and its
    degrees of freedom.
    """

    covariance_PP: Floats
    freedom: int

    @classmethod
    def of(cls, design_CP: Floats, mean_C: Floats, said_C: Floats) -> "Scatter | None":
        """From the cells' means and what the law says of them; None where there is no cell more
        than coefficients.
        """
        freedom = len(mean_C) - design_CP.shape[1]
        if freedom < 1:
            return None
        variance = float(((mean_C - said_C) ** 2).sum()) / freedom
        return cls(variance * np.linalg.pinv(design_CP.T @ design_CP), freedom)

    def interval(self, at: float, direction_P: Floats, level: float = 0.95) -> Interval | None:
        """`at` plus or minus Student's t times the standard error along a direction; None where the
        law fits exactly.
        """
        half = float(
            student.ppf(0.5 + level / 2, self.freedom)
            * np.sqrt(direction_P @ self.covariance_PP @ direction_P)
        )
        return (at - half, at + half) if half > 1e-9 * abs(at) else None
