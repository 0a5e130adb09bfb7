"""How sure a fit is: refits of resampled clusters, thousands of them at once.

Pairs: as many clusters as there are, drawn with replacement, all rows of one together (Efron 1979;
for runs of a scaling law Besiroglu et al. 2024). With few clusters that is too narrow; then the
rows stay, and the residuals of every cluster are multiplied by one random number (wild cluster
bootstrap: Wu 1986; Cameron, Gelbach and Miller 2008; six-point weights: Webb 2013).

Shape letters: B draws, K coefficients, P free parameters, N rows, G clusters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from scalelab.fit.descent import rows
from scalelab.fit.formula import Floats
from scalelab.fit.law import Loss
from scalelab.fit.minimise import Tell, minimise
from scalelab.fit.optimum import Optimum
from scalelab.fit.problem import Problem

DRAWS = 4000
FEW = 20
"""Under this many clusters the wild bootstrap is the one to use."""

_VALUES = 20_000_000
"""Weights held at once."""

_LEAST = 0.05
"""What is left at least where a cluster has nearly all the leverage."""

_TWICE = 2.0

_WEBB = np.sqrt([0.5, 1.0, 1.5])

Clusters = NDArray[np.integer]


@dataclass(frozen=True)
class Draws:
    """Coefficients of every refit, tied and fixed ones too; refits without a finite optimum are
    left out and counted.
    """

    names: tuple[str, ...]
    values_BK: Floats = field(repr=False)
    kind: Literal["pairs", "wild"]
    failed: int
    stretch: float = 1.0
    """How much wider than their standard error the draws lie, so that percentiles are those of
    Student's t.
    """

    def __getitem__(self, name: str) -> Floats:
        """The draws [B] of one coefficient."""
        return self.values_BK[:, self.names.index(name)]

    @property
    def by_name(self) -> dict[str, Floats]:
        """Coefficient -> draws [B], as `Problem.predict` takes them."""
        return {name: self.values_BK[:, index] for index, name in enumerate(self.names)}

    def se(self, draws_B: Floats) -> float:
        """The standard error of a number of which these are the draws."""
        finite_B = draws_B[np.isfinite(draws_B)]
        return float(finite_B.std(ddof=1)) / self.stretch if len(finite_B) > 1 else float("nan")


def bootstrap(
    problem: Problem,
    optimum: Optimum,
    cluster_N: Clusters,
    draws: int = DRAWS,
    seed: int = 0,
    tell: Tell | None = None,
) -> Draws:
    """Refit `draws` resamples of the clusters; every refit starts at the optimum and at
    its rivals.
    """
    _, member_N = np.unique(cluster_N, return_inverse=True)
    groups = int(member_N.max()) + 1
    rng = np.random.default_rng(seed)
    count_BG = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)

    def refit(block: slice, tell: Tell | None) -> Floats:
        return _best(problem, optimum, count_BG[block][:, member_N].astype(np.float64), None, tell)

    return _draws(problem, _in_blocks(refit, draws, len(member_N), tell), "pairs", 1.0)


def wild(
    problem: Problem,
    optimum: Optimum,
    cluster_N: Clusters,
    draws: int = DRAWS,
    seed: int = 0,
    tell: Tell | None = None,
) -> Draws:
    """Refit to targets made of the fit and residuals times Webb's weights, one for each cluster.

    Residuals are widened by the leverage of their cluster (CR2: Bell and McCaffrey 2002), and by
    Student's t over the normal quantile at 95 %, so that percentiles of any derived number have
    these degrees of freedom: clusters less coefficients.
    """
    _, member_N = np.unique(cluster_N, return_inverse=True)
    groups = int(member_N.max()) + 1
    stretch = float(student.ppf(0.975, max(1, groups - len(problem.axes))) / norm.ppf(0.975))
    rng = np.random.default_rng(seed)
    weight_BG = rng.choice(np.concatenate([-_WEBB, _WEBB]), size=(draws, groups))
    fitted_N = problem.target_N + problem.residuals(optimum.coefficients)
    wide_N = stretch * _spread(problem, optimum, member_N)

    def refit(block: slice, tell: Tell | None) -> Floats:
        return _best(
            problem, optimum, None, fitted_N + weight_BG[block][:, member_N] * wide_N, tell
        )

    return _draws(problem, _in_blocks(refit, draws, len(member_N), tell), "wild", stretch)


def _spread(problem: Problem, optimum: Optimum, member_N: Clusters) -> Floats:
    """[N]: residuals of the least-squares fit next to the optimum, cluster by cluster over the root
    of one less their leverage.

    Huber's fit meets as many rows as it has coefficients nearly exactly; its own residuals would
    let these never vary.
    """
    squared = Problem.of(
        replace(problem.law, loss=Loss("squared")), problem.columns, problem.y_N, problem.weight_N
    )
    theta_1P = minimise(squared, optimum.theta_P[None]).theta_SP
    residual_N = squared.residuals(
        {name: float(value[0]) for name, value in squared.coefficients(theta_1P).items()}
    )
    root_N = np.sqrt(np.maximum(problem.weight_N, 1e-300))
    basis_NP = np.linalg.qr(squared.slopes(theta_1P[0]) * root_N[:, None])[0]
    wide_N = np.empty_like(residual_N)
    for cluster in np.unique(member_N):
        rows = np.flatnonzero(member_N == cluster)
        left_C, turn_CC = np.linalg.eigh(np.eye(len(rows)) - basis_NP[rows] @ basis_NP[rows].T)
        weighted_C = (
            turn_CC.T @ (root_N[rows] * residual_N[rows]) / np.sqrt(np.maximum(left_C, _LEAST))
        )
        wide_N[rows] = turn_CC @ weighted_C / root_N[rows]
    return wide_N


def _in_blocks(
    refit: Callable[[slice, Tell | None], Floats], draws: int, rows: int, tell: Tell | None
) -> Floats:
    """[B, P] parameters, refitted a block of draws at a time so that memory stays bounded."""
    step = max(1, _VALUES // rows)
    blocks = []
    for first in range(0, draws, step):
        said = None if tell is None else lambda done, first=first: tell(first + done)
        blocks.append(refit(slice(first, min(draws, first + step)), said))
    return np.concatenate(blocks)


def _best(
    problem: Problem,
    optimum: Optimum,
    weight_BN: Floats | None,
    target_BN: Floats | None,
    tell: Tell | None,
) -> Floats:
    """[B, P] parameters, NaN where no start has a finite optimum.

    A rival is tried where it might win: its objective lies no further above the refit's than twice
    what any refit has gained.
    """
    draws = len(weight_BN if weight_BN is not None else target_BN if target_BN is not None else ())
    first_BP = np.repeat(optimum.theta_P[None], draws, axis=0)
    began_B = problem.value_and_gradient(first_BP, weight_BN, target_BN)[0]
    inverse_PP = problem.inverse_hessian(optimum.theta_P)
    minima = minimise(problem, first_BP, weight_BN, target_BN, tell, inverse_PP=inverse_PP)
    finite_B = np.isfinite(minima.objective_S)
    best_BP = np.where(finite_B[:, None], minima.theta_SP, np.nan)
    value_B = np.where(finite_B, minima.objective_S, np.inf)
    gained = np.max(began_B - value_B, initial=0.0, where=finite_B & np.isfinite(began_B))
    for rival_P in optimum.rivals_KP:
        rival_BP = np.repeat(rival_P[None], draws, axis=0)
        above_B = problem.value_and_gradient(rival_BP, weight_BN, target_BN)[0] - value_B
        near_A = np.flatnonzero(~(above_B > _TWICE * gained))
        if not near_A.size:
            continue
        tried = minimise(
            problem, rival_BP[near_A], rows(weight_BN, near_A), rows(target_BN, near_A)
        )
        lower_A = tried.objective_S < value_B[near_A]
        best_BP[near_A[lower_A]] = tried.theta_SP[lower_A]
        value_B[near_A[lower_A]] = tried.objective_S[lower_A]
    return best_BP


def _draws(
    problem: Problem, theta_BP: Floats, kind: Literal["pairs", "wild"], stretch: float
) -> Draws:
    finite_B = np.isfinite(theta_BP).all(axis=1)
    values = problem.coefficients(theta_BP[finite_B])
    return Draws(
        tuple(values),
        np.stack(list(values.values()), axis=1),
        kind,
        int((~finite_B).sum()),
        stretch,
    )
