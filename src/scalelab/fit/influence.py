"""What each run does to a fit: refits without it, all at once, from the optimum and its rivals.

Shape letters: S refits, P free parameters, N rows, G configurations.
"""

import numpy as np
from numpy.typing import NDArray

from scalelab.fit.formula import Floats
from scalelab.fit.minimise import minimise
from scalelab.fit.optimum import Optimum
from scalelab.fit.problem import Problem


def without(
    problem: Problem, optimum: Optimum, left_out_SN: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Coefficient -> its value [S] where these rows are left out; NaN where no optimum
    is finite.
    """
    weight_SN = np.where(left_out_SN, 0.0, 1.0)
    best_SP, value_S = (
        np.full((len(weight_SN), len(problem.axes)), np.nan),
        np.full(len(weight_SN), np.inf),
    )
    for start_P in (optimum.theta_P, *optimum.rivals_KP):
        minima = minimise(problem, np.repeat(start_P[None], len(weight_SN), axis=0), weight_SN)
        lower_S = minima.objective_S < value_S
        best_SP[lower_S], value_S[lower_S] = minima.theta_SP[lower_S], minima.objective_S[lower_S]
    return problem.coefficients(best_SP)


def each_configuration(cluster_N: NDArray[np.integer]) -> NDArray[np.bool_]:
    """[G, N] the rows of one configuration after the other."""
    return np.arange(int(cluster_N.max()) + 1)[:, None] == cluster_N


def highest(y_N: Floats, most: int) -> NDArray[np.bool_]:
    """[most + 1, N] no row, the row of the highest target, the two highest, and so on."""
    rank_N = np.empty(y_N.size, dtype=np.int64)
    rank_N[np.argsort(-y_N, kind="stable")] = np.arange(y_N.size)
    return rank_N < np.arange(most + 1)[:, None]
