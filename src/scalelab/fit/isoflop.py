"""IsoFLOP analysis: at each budget a parabola of the loss in log N, its minimum, and N*(C), D*(C) through the minima.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556), section 3.2. Errors come from a bootstrap of the residuals about the
parabolas, widened for the three coefficients that each took: a budget's own where it has enough, else those of all budgets.
Pairs drawn from a few sizes would often leave fewer than the three that a parabola needs.

Shape letters: N rows, R rows of one budget, B draws, K budgets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.core.seeds import derive
from scalelab.fit.censored import Floats
from scalelab.fit.estimate import Estimate, estimate
from scalelab.fit.powerline import PowerLine, power_line
from scalelab.fit.warned import Warned

RATIO = 1.1
"""Rows belong to one budget where their FLOPs lie within this factor (levanter's isoFLOP buckets have the same base)."""

SIZES = 4
"""A profile needs this many sizes: a parabola goes through any three points, and nothing is left to judge it by."""

OWN = 6
"""A budget with this many rows has residuals of its own to draw from."""

FEW = 3
"""Fewer minima than this are no line to trust."""

BIAS = (
    "IsoFLOP profiles are not parabolas: the loss rises more steeply towards small models than towards large ones. A fit over wide or "
    "lopsided ranges of N moves the minimum, and moves it differently at each budget, which tilts the exponents; sizes close to the "
    "minimum, evenly on both sides, keep this small (approach 2's known bias)."
)


@dataclass(frozen=True)
class Budget:
    """One isoFLOP profile: loss = c0 + c1 x + c2 x^2, x = log N - log of `center`."""

    flops: float
    """Geometric mean of the rows' FLOPs."""
    rows_R: np.ndarray
    """Which rows of the input it has."""
    center: float
    parabola: tuple[float, float, float]
    params: Estimate
    """N at the minimum; NaN where the parabola opens downwards."""
    tokens: Estimate
    loss: Estimate
    interior: bool
    """Whether the minimum lies between the smallest and the largest size."""
    determined: bool
    """Whether its interval is narrower than the sizes that were run; only such minima are used for N*(C)."""

    def at(self, params_X: Floats) -> Floats:
        """[X] the parabola at these sizes."""
        return np.asarray(np.polynomial.polynomial.polyval(np.log(params_X / self.center), self.parabola), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {"params": self.params.to_json(), "tokens": self.tokens.to_json(), "loss": self.loss.to_json()}
        return {"flops": self.flops, "runs": len(self.rows_R), "interior": self.interior, "determined": self.determined, **plain}


@dataclass(frozen=True)
class IsoFlop:
    """Every profile, and the powers of compute through the determined minima; None with fewer than two of these."""

    budgets: tuple[Budget, ...]
    params: PowerLine | None
    tokens: PowerLine | None
    warnings: tuple[Warned, ...]
    left_out: int
    """Rows in no profile: their budget has fewer than three sizes."""


def isoflop(params_N: Floats, tokens_N: Floats, flops_N: Floats, loss_N: Floats, *, draws: int = 1000, seed: int = 0) -> IsoFlop:
    """Group rows into budgets and fit them. All [N], float64, positive. No budgets: an empty result with a warning."""
    groups = [rows for rows in groups_of(flops_N) if np.unique(params_N[rows]).size >= SIZES]
    fits = [_Parabola.of(np.log(params_N[rows]), loss_N[rows]) for rows in groups]
    every_N = np.concatenate([fit.errors() for fit in fits] or [np.empty(0)])
    rng = np.random.default_rng(derive(seed, "isoflop"))
    found = [_Minima.of(fit, fit.errors() if fit.y_R.size >= OWN else every_N, draws, rng) for fit in fits]
    budgets = tuple(_budget(rows, fit, minima, params_N, tokens_N, flops_N) for rows, fit, minima in zip(groups, fits, found, strict=True))
    inside = [index for index, budget in enumerate(budgets) if budget.determined]
    at_K = np.array([budgets[index].flops for index in inside])
    params_BK = _columns([np.exp(found[index].x_B) for index in inside], draws)
    tokens_BK = _columns([_tokens(groups[index], params_N, tokens_N, found[index].x_B) for index in inside], draws)
    params = power_line(at_K, np.array([budgets[index].params.value for index in inside]), params_BK)
    tokens = power_line(at_K, np.array([budgets[index].tokens.value for index in inside]), tokens_BK)
    left_out = len(loss_N) - sum(map(len, groups))
    return IsoFlop(budgets, params, tokens, tuple(_warnings(budgets, left_out)), left_out)


def groups_of(flops_N: Floats) -> list[np.ndarray]:
    """The rows of each budget, the smallest first: FLOPs within `RATIO` of the group's least."""
    groups: list[list[int]] = []
    for row in np.argsort(flops_N, kind="stable"):
        if groups and flops_N[row] <= RATIO * flops_N[groups[-1][0]]:
            groups[-1].append(int(row))
        else:
            groups.append([int(row)])
    return [np.array(sorted(group)) for group in groups]


@dataclass(frozen=True)
class _Parabola:
    center: float
    x_R: Floats
    y_R: Floats
    design_R3: Floats
    inverse_3R: Floats
    coefficient_3: Floats

    @classmethod
    def of(cls, x_R: Floats, y_R: Floats) -> "_Parabola":
        center = float(x_R.mean())
        design_R3 = np.vander(x_R - center, 3, increasing=True)
        inverse_3R = np.asarray(np.linalg.pinv(design_R3), dtype=np.float64)
        return cls(center, x_R, y_R, design_R3, inverse_3R, inverse_3R @ y_R)

    def errors(self) -> Floats:
        """Residuals as wide as the errors that they come from; none where three points leave no residual."""
        free = self.y_R.size - 3
        return (self.y_R - self.design_R3 @ self.coefficient_3) * np.sqrt(self.y_R.size / free) if free else np.empty(0)


@dataclass(frozen=True)
class _Minima:
    """Where the parabola and its draws have their minimum; NaN where they open downwards."""

    x: float
    y: float
    x_B: Floats
    y_B: Floats

    @classmethod
    def of(cls, fit: _Parabola, errors_N: Floats, draws: int, rng: np.random.Generator) -> "_Minima":
        drawn_B3 = np.empty((0, 3))
        if errors_N.size:
            drawn_BR = rng.choice(errors_N - errors_N.mean(), size=(draws, fit.y_R.size))
            drawn_B3 = (fit.design_R3 @ fit.coefficient_3 + drawn_BR) @ fit.inverse_3R.T
        every_B3 = np.vstack([fit.coefficient_3, drawn_B3])
        c0, c1, c2 = every_B3.T
        up = np.where(c2 > 0, c2, np.nan)
        # Beyond e^300 a minimum is as good as nowhere, and its exponential still a number.
        x_B, y_B = np.clip(fit.center - c1 / (2 * up), -300, 300), c0 - c1**2 / (4 * up)
        return cls(float(x_B[0]), float(y_B[0]), x_B[1:], y_B[1:])


def _budget(rows: np.ndarray, fit: _Parabola, minima: _Minima, params_N: Floats, tokens_N: Floats, flops_N: Floats) -> Budget:
    with np.errstate(over="ignore"):
        params = estimate(float(np.exp(minima.x)), np.exp(minima.x_B))
        tokens_B = _tokens(rows, params_N, tokens_N, np.append(minima.x, minima.x_B))
    return Budget(
        flops=float(np.exp(np.log(flops_N[rows]).mean())),
        rows_R=rows,
        center=float(np.exp(fit.center)),
        parabola=(float(fit.coefficient_3[0]), float(fit.coefficient_3[1]), float(fit.coefficient_3[2])),
        params=params,
        tokens=estimate(float(tokens_B[0]), tokens_B[1:]),
        loss=estimate(minima.y, minima.y_B),
        interior=bool(fit.x_R.min() < minima.x < fit.x_R.max()),
        determined=_is_determined(params, fit.x_R, drawn=minima.x_B.size > 0),
    )


def _tokens(rows: np.ndarray, params_N: Floats, tokens_N: Floats, x_B: Floats) -> Floats:
    """Tokens at sizes exp(x): within a budget log D falls with log N, by one where C = 6 N D."""
    slope, height = np.polynomial.polynomial.polyfit(np.log(params_N[rows]), np.log(tokens_N[rows]), 1)[::-1]
    with np.errstate(over="ignore"):
        return np.exp(height + slope * x_B)


def _is_determined(params: Estimate, x_R: Floats, *, drawn: bool) -> bool:
    """Whether the minimum is known to a smaller factor than the sizes span; where nothing was drawn, the minimum must do."""
    if drawn and params.ci95 is None:
        return False
    low, high = params.ci95 or (params.value, params.value)
    return bool(low > 0 and np.log(high / low) < np.ptp(x_R) and x_R.min() < np.log(params.value) < x_R.max())


def _columns(drawn: list[Floats], draws: int) -> Floats:
    """[B, K] draws of every budget; NaN where a budget has none."""
    return np.stack([one if one.size else np.full(draws, np.nan) for one in drawn], axis=1) if drawn else np.empty((draws, 0))


def _warnings(budgets: tuple[Budget, ...], left_out: int) -> Iterator[Warned]:
    if not budgets:
        yield Warned("no_isoflop", f"No budget has {SIZES} sizes within a factor {RATIO} of its FLOPs: there are no isoFLOP profiles.")
    elif left_out:
        yield Warned("isoflop_left_out", f"{left_out} rows are in no isoFLOP profile: their budgets have fewer than {SIZES} sizes.")
    outside = [f"{budget.flops:.3g}" for budget in budgets if not budget.interior]
    if outside:
        where = ", ".join(outside)
        text = f"The minimum does not lie between the sizes that were run at {where} FLOPs: these budgets are left out of N*(C)."
        yield Warned("minimum_not_interior", text)
    vague = [f"{budget.flops:.3g}" for budget in budgets if budget.interior and not budget.determined]
    if vague:
        where = ", ".join(vague)
        text = f"The minimum is known no better than to the range of sizes at {where} FLOPs: these budgets are left out of N*(C)."
        yield Warned("minimum_not_determined", text)
    used = len(budgets) - len(outside) - len(vague)
    if budgets and used < FEW:
        yield Warned("few_budgets", f"N*(C) passes through the minima of {used} budgets: its exponent rests on too few.")
