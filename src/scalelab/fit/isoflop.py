"""IsoFLOP analysis: at each budget a parabola of the loss in log N, its minimum, and N*(C), D*(C)
through the minima.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556), section 3.2. Errors come from a bootstrap of
the residuals about the parabolas, widened for the three coefficients that each took: a budget's own
where it has enough, else those of all budgets. Pairs drawn from a few sizes would often leave fewer
than the three that a parabola needs.

Minima scatter about N*(C) by more than that: profiles are no parabolas, and budgets differ in more
than compute. The draws of the powers move each minimum by that scatter too, else their intervals
would be too narrow.

Shape letters: N rows, R rows of one budget, B draws, K budgets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student

from scalelab.core.seeds import derive
from scalelab.fit.censored import Floats
from scalelab.fit.estimate import Estimate, estimate
from scalelab.fit.powerline import PowerLine, power_line
from scalelab.fit.warned import Warned

RATIO = 1.1
"""Rows whose FLOPs follow each other within this factor are of one budget (levanter's isoFLOP
buckets have the same base).
"""

SPAN = 1.3
"""All rows of a budget lie within this factor; a longer run of neighbours is cut at its widest
gaps.
"""

SIZES = 4
"""A profile needs this many sizes: a parabola goes through any three points, and nothing is left to
judge it by.
"""

OWN = 6
"""A budget with this many rows has residuals of its own to draw from."""

FEW = 3
"""Fewer minima than this are no line to trust."""

BIAS = (
    "IsoFLOP profiles are not parabolas: the loss rises more steeply on one side, small models"
    " where alpha is above beta. A fit over wide or lopsided ranges of N moves the minimum, and"
    " moves it differently at each budget, which tilts the exponents; sizes close to the minimum,"
    " evenly on both sides, keep this small (approach 2's known bias)."
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
    """Whether its interval is narrower than the sizes that were run; only such minima are used for
    N*(C).
    """

    def at(self, params_X: Floats) -> Floats:
        """[X] the parabola at these sizes."""
        return np.asarray(
            np.polynomial.polynomial.polyval(np.log(params_X / self.center), self.parabola),
            dtype=np.float64,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {
            "params": self.params.to_json(),
            "tokens": self.tokens.to_json(),
            "loss": self.loss.to_json(),
        }
        return {
            "flops": self.flops,
            "runs": len(self.rows_R),
            "interior": self.interior,
            "determined": self.determined,
            **plain,
        }


@dataclass(frozen=True)
class IsoFlop:
    """Every profile, and the powers of compute through the determined minima; None with fewer than
    two of these.
    """

    budgets: tuple[Budget, ...]
    params: PowerLine | None
    tokens: PowerLine | None
    scatter: float
    """Standard deviation of the minima's log N about N*(C) beyond their own errors, of which the
    powers' draws have their part.
    """
    warnings: tuple[Warned, ...]
    left_out: int
    """Rows in no profile: their budget has fewer than `SIZES` sizes."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; a power of compute is null where no line passes through the minima."""
        return {
            "budgets": [budget.to_json() for budget in self.budgets],
            "params": None if self.params is None else self.params.to_json(),
            "tokens": None if self.tokens is None else self.tokens.to_json(),
            "scatter": self.scatter,
            "left_out": self.left_out,
            "warnings": [warned.to_json() for warned in self.warnings],
        }


def isoflop(
    params_N: Floats,
    tokens_N: Floats,
    flops_N: Floats,
    loss_N: Floats,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> IsoFlop:
    """Group rows into budgets and fit them.

    All [N], float64, positive. No budgets: an empty result with a warning.
    """
    groups = [rows for rows in groups_of(flops_N) if np.unique(params_N[rows]).size >= SIZES]
    fits = [_Parabola.of(np.log(params_N[rows]), loss_N[rows]) for rows in groups]
    every_N = np.concatenate([fit.errors() for fit in fits] or [np.empty(0)])
    rng = np.random.default_rng(derive(seed, "isoflop"))
    found = [
        _Minima.of(fit, fit.errors() if fit.y_R.size >= OWN else every_N, draws, rng)
        for fit in fits
    ]
    budgets = tuple(
        _budget(rows, fit, minima, params_N, tokens_N, flops_N)
        for rows, fit, minima in zip(groups, fits, found, strict=True)
    )
    inside = [index for index, budget in enumerate(budgets) if budget.determined]
    at_K = np.array([budgets[index].flops for index in inside])
    x_BK = _columns([found[index].x_B for index in inside], draws)
    scatter = scatter_of(np.log(at_K), np.array([found[index].x for index in inside]), x_BK)
    if scatter > 0:
        # Stretched as Student's t is at 95 %: the scatter itself is known from few minima. One
        # move for N and D: their draws belong together.
        stretch = float(student.ppf(0.975, len(inside) - 2) / norm.ppf(0.975))
        x_BK = x_BK + scatter * stretch * rng.normal(size=x_BK.shape)
    params_BK = np.exp(x_BK)
    tokens_BK = _columns(
        [_tokens(groups[index], params_N, tokens_N, x_BK[:, k]) for k, index in enumerate(inside)],
        draws,
    )
    params = power_line(
        at_K, np.array([budgets[index].params.value for index in inside]), params_BK
    )
    tokens = power_line(
        at_K, np.array([budgets[index].tokens.value for index in inside]), tokens_BK
    )
    left_out = len(loss_N) - sum(map(len, groups))
    return IsoFlop(budgets, params, tokens, scatter, tuple(_warnings(budgets, left_out)), left_out)


def scatter_of(log_flops_K: Floats, x_K: Floats, x_BK: Floats) -> float:
    """The scatter between budgets that makes chi-squared about a line as large as its K - 2 degrees
    of freedom (Paule and Mandel).

    Zero where the minima's own errors explain it, without draws to tell these from, and with fewer
    than three different budgets, about whose line nothing scatters.
    """
    if np.unique(log_flops_K).size < 3 or not len(x_BK):
        return 0.0
    # Half the central 68 %: a minimum of a nearly flat parabola may be drawn anywhere, and its
    # standard deviation says nothing.
    low_K, high_K = np.quantile(np.nan_to_num(x_BK, nan=300.0), (0.16, 0.84), axis=0)
    own_K = ((high_K - low_K) / 2) ** 2
    design_K2 = np.vander(log_flops_K - log_flops_K.mean(), 2)
    free = x_K.size - 2

    def excess(variance: float) -> float:
        root_K = 1 / np.sqrt(own_K + variance)
        coefficient_2 = np.linalg.lstsq(design_K2 * root_K[:, None], x_K * root_K, rcond=None)[0]
        return float((((x_K - design_K2 @ coefficient_2) * root_K) ** 2).sum()) - free

    most = float(x_K.var()) * x_K.size / free
    least = 1e-12 * most
    if most == 0 or excess(least) <= 0:
        return 0.0
    return float(np.sqrt(cast(float, brentq(excess, least, most)) if excess(most) < 0 else most))


def groups_of(flops_N: Floats) -> list[np.ndarray]:
    """The rows of each budget, the smallest first: cut where FLOPs leap by more than `RATIO`, then
    where a group exceeds `SPAN`.
    """
    order_N = np.argsort(flops_N, kind="stable")
    leaps = np.flatnonzero(flops_N[order_N][1:] > RATIO * flops_N[order_N][:-1]) + 1
    parts = [part for run in np.split(order_N, leaps) if run.size for part in _parts(run, flops_N)]
    return [np.sort(part) for part in parts]


def _parts(order_R: np.ndarray, flops_N: Floats) -> Iterator[np.ndarray]:
    """Rows in the order of their FLOPs, cut at the widest gap until no part exceeds `SPAN`."""
    waiting = [order_R]
    while waiting:
        run_R = waiting.pop()
        flops_R = flops_N[run_R]
        if flops_R[-1] <= SPAN * flops_R[0]:
            yield run_R
        else:
            cut = int(np.argmax(flops_R[1:] / flops_R[:-1])) + 1
            waiting += [run_R[cut:], run_R[:cut]]


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
        """Residuals as wide as the errors that they come from; none where three points leave no
        residual.
        """
        free = self.y_R.size - 3
        return (
            (self.y_R - self.design_R3 @ self.coefficient_3) * np.sqrt(self.y_R.size / free)
            if free
            else np.empty(0)
        )


@dataclass(frozen=True)
class _Minima:
    """Where the parabola and its draws have their minimum; NaN where they open downwards."""

    x: float
    y: float
    x_B: Floats
    y_B: Floats

    @classmethod
    def of(
        cls, fit: _Parabola, errors_N: Floats, draws: int, rng: np.random.Generator
    ) -> "_Minima":
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


def _budget(
    rows: np.ndarray,
    fit: _Parabola,
    minima: _Minima,
    params_N: Floats,
    tokens_N: Floats,
    flops_N: Floats,
) -> Budget:
    with np.errstate(over="ignore"):
        params = estimate(float(np.exp(minima.x)), np.exp(minima.x_B))
        tokens_B = _tokens(rows, params_N, tokens_N, np.append(minima.x, minima.x_B))
    # The minimum is determined where it is known to a smaller factor than the sizes span; where
    # nothing was drawn, the minimum itself must do.
    low, high = params.ci95 or (params.value, params.value)
    determined = (
        (params.ci95 is not None or not minima.x_B.size)
        and low > 0
        and np.log(high / low) < np.ptp(fit.x_R)
        and fit.x_R.min() < np.log(params.value) < fit.x_R.max()
    )
    return Budget(
        flops=float(np.exp(np.log(flops_N[rows]).mean())),
        rows_R=rows,
        center=float(np.exp(fit.center)),
        parabola=(
            float(fit.coefficient_3[0]),
            float(fit.coefficient_3[1]),
            float(fit.coefficient_3[2]),
        ),
        params=params,
        tokens=estimate(float(tokens_B[0]), tokens_B[1:]),
        loss=estimate(minima.y, minima.y_B),
        interior=bool(fit.x_R.min() < minima.x < fit.x_R.max()),
        determined=bool(determined),
    )


def _tokens(rows: np.ndarray, params_N: Floats, tokens_N: Floats, x_B: Floats) -> Floats:
    """Tokens at sizes exp(x): within a budget log D falls with log N, by one where C = 6 N D."""
    slope, height = np.polynomial.polynomial.polyfit(
        np.log(params_N[rows]), np.log(tokens_N[rows]), 1
    )[::-1]
    with np.errstate(over="ignore"):
        return np.exp(height + slope * x_B)


def _columns(drawn: list[Floats], draws: int) -> Floats:
    """[B, K] draws of every budget; NaN where a budget has none."""
    return (
        np.stack([one if one.size else np.full(draws, np.nan) for one in drawn], axis=1)
        if drawn
        else np.empty((draws, 0))
    )


def _warnings(budgets: tuple[Budget, ...], left_out: int) -> Iterator[Warned]:
    if not budgets:
        yield Warned(
            "no_isoflop",
            f"No budget has {SIZES} sizes whose FLOPs lie within a factor {SPAN}: there are no"
            " isoFLOP profiles.",
        )
    elif left_out:
        yield Warned(
            "isoflop_left_out",
            f"{left_out} rows are in no isoFLOP profile: their budgets have fewer than {SIZES}"
            " sizes.",
        )
    outside = [f"{budget.flops:.3g}" for budget in budgets if not budget.interior]
    if outside:
        where = ", ".join(outside)
        text = (
            f"The minimum does not lie between the sizes that were run at {where} FLOPs: these"
            " budgets are left out of N*(C)."
        )
        yield Warned("minimum_not_interior", text)
    vague = [
        f"{budget.flops:.3g}" for budget in budgets if budget.interior and not budget.determined
    ]
    if vague:
        where = ", ".join(vague)
        text = (
            f"The minimum is known no better than to the range of sizes at {where} FLOPs: these"
            " budgets are left out of N*(C)."
        )
        yield Warned("minimum_not_determined", text)
    used = len(budgets) - len(outside) - len(vague)
    if budgets and used < FEW:
        yield Warned(
            "few_budgets",
            f"N*(C) passes through the minima of {used} budgets: its exponent rests on too few.",
        )
