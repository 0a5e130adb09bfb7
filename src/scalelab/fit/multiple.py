"""Several comparisons that are judged at once."""

import numpy as np
from numpy.typing import ArrayLike

from scalelab.fit.censored import Floats

LEVEL = 0.05
"""Where the adjusted p-value is no larger, a difference is told from none."""


def holm(p: ArrayLike) -> Floats:
    """Adjusted p-values [..., M] of M tests by Holm's step-down procedure (Holm 1979, A simple
    sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70).

    The smallest is multiplied by M, the next one by M - 1, and so on, and none is below one before
    it. Whoever claims what has an adjusted value of at most `LEVEL` makes one false claim or more
    with no more than this probability, however the tests depend on each other.
    """
    p = np.asarray(p, np.float64)
    order, count = np.argsort(p, axis=-1, kind="stable"), p.shape[-1]
    scaled = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, -1)
    return adjusted
