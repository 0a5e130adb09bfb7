"""The bootstrap over replicates: reweightings of the answers, cell by cell.

Of n replicates n - 1 are drawn with replacement (McCarthy and Snowden 1985): so the variance of a cell's mean comes out
unbiased, where drawing n makes it too small by (n - 1) / n, half of it at two replicates. Intervals are the
estimate plus or minus Student's t times the standard deviation of the draws.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from scalelab.fit.censored import Floats

Interval = tuple[float, float]


def cell_weights(replicates: Sequence[int]) -> Floats:
    """[1, N] weights under which every cell counts alike and the mean weight is one."""
    counts = np.asarray(replicates, dtype=np.float64)
    return np.repeat(counts.mean() / counts, replicates)[None, :]


def draw_weights(replicates: Sequence[int], draws: int, seed: int) -> Floats:
    """[draws, N] weights of resampled replicates, cell by cell; a single replicate is kept as it is."""
    rng, mean = np.random.default_rng(seed), float(np.mean(replicates))
    blocks = []
    for count in replicates:
        drawn = max(1, count - 1)
        blocks.append(rng.multinomial(drawn, np.full(count, 1 / count), size=draws) * (mean / drawn))
    return np.concatenate(blocks, axis=1).astype(np.float64)


def interval(estimate: float, drawn_B: Floats, replicates: Sequence[int], level: float = 0.95) -> Interval | None:
    """The interval of an estimate; None where there are no two replicates, or where too few draws could be fitted."""
    freedom = sum(count - 1 for count in replicates)
    valid = drawn_B[np.isfinite(drawn_B)]
    if freedom < 1 or len(valid) < 0.95 * len(drawn_B):
        return None
    half = float(student.ppf(0.5 + level / 2, freedom) * valid.std(ddof=1))
    return estimate - half, estimate + half
