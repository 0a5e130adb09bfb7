"""The bootstrap over replicates: reweightings of the answers, cell by cell.

Of n replicates n - 1 are drawn with replacement (McCarthy and Snowden 1985): so the variance of a
cell's mean comes out unbiased, where drawing n makes it too small by (n - 1) / n, half of it at two
replicates. Intervals are the estimate plus or minus Student's t times the standard deviation of the
draws.

Shape letters: B draws, N answers, K estimates, C cells.
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
    """[draws, N] weights of resampled replicates, cell by cell; a single replicate is kept as it
    is.
    """
    rng, mean = np.random.default_rng(seed), float(np.mean(replicates))
    blocks = []
    for count in replicates:
        drawn = max(1, count - 1)
        blocks.append(
            rng.multinomial(drawn, np.full(count, 1 / count), size=draws) * (mean / drawn)
        )
    return np.concatenate(blocks, axis=1).astype(np.float64)


def intervals(
    estimate_K: Floats,
    drawn_BK: Floats,
    weight_BN: Floats,
    replicates: Sequence[int],
    level: float = 0.95,
) -> list[Interval | None]:
    """The interval of each estimate; None where the replicates show no spread, or where too few
    draws could be fitted.

    An estimate may rest on a few cells only (a slope does on the last ones), and then on few
    degrees of freedom: they are Satterthwaite's, from the share that every cell has in the variance
    of the draws. What two replicates say of their own cell's share is little, so it is drawn to the
    mean share as if that were one replicate more.
    """
    valid_B = np.isfinite(drawn_BK).all(axis=1)
    if max(replicates) < 2 or valid_B.mean() < 0.95:
        return [None] * len(estimate_K)
    moved_BK, weight_BN = _centred(drawn_BK[valid_B]), _centred(weight_BN[valid_B])
    effect_NK = np.linalg.lstsq(weight_BN, moved_BK)[0]
    cells = np.split(np.arange(weight_BN.shape[1]), np.cumsum(replicates)[:-1])
    share_CK = (
        np.array([(weight_BN[:, cell] @ effect_NK[cell]).var(axis=0) for cell in cells]) + 1e-100
    )
    spare_C1 = np.maximum(np.array(replicates) - 1, 1)[:, None]
    share_CK = (spare_C1 * share_CK + share_CK.mean(axis=0)) / (spare_C1 + 1)
    freedom_K = share_CK.sum(axis=0) ** 2 / (share_CK**2 / spare_C1).sum(axis=0)
    half_K = student.ppf(0.5 + level / 2, freedom_K) * moved_BK.std(axis=0, ddof=1)
    return [
        (float(at - half), float(at + half)) if half > 1e-9 * abs(at) else None
        for at, half in zip(estimate_K, half_K, strict=True)
    ]


def _centred(value_BX: Floats) -> Floats:
    return value_BX - value_BX.mean(axis=0)
