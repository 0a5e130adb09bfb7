"""What a fact costs: laws of the smallest passing model against the number of facts.

In the weights: a line, params = intercept + slope * facts. Through a tool: a plateau (one size is
enough from a knee on; up to the knee the size rises with the logarithm of the facts), or a
logarithm that never levels off. Every law is fitted to the replicates' answers by maximum
likelihood, a censored one as "greater than the largest size tried".

Shape letters: B parameter sets (the estimate, then bootstrap draws), N answers, K parameters of a
law, X places on its axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalelab.core.errors import UserError
from scalelab.core.jsonable import with_nulls
from scalelab.fit.censored import Fitted, Floats, fit_censored
from scalelab.fit.frontier import Cell
from scalelab.fit.resample import Interval, cell_weights, draw_weights, intervals
from scalelab.fit.scatter import Scatter

DRAWS = 1000
"""Bootstrap draws behind every interval."""


Noise = Literal["constant", "relative"]


@dataclass(frozen=True)
class Shape:
    """What a law says of the size of a model, by the values of its parameters."""

    kind: str
    names: tuple[str, ...]
    curve: Callable[[Floats, Floats], Floats]
    """[B, K] values and [X] numbers of facts -> [B, X] sizes."""
    design: Callable[[Floats, Floats], Floats]
    """[K] values and [X] numbers of facts -> [X, P] what multiplies the coefficients there."""
    shared: int
    """How many of the parameters, the first ones, mean the same in every draw: these have
    intervals.
    """


@dataclass(frozen=True)
class CostLaw:
    """A fitted law. Sizes are parameters, places are numbers of facts; intervals are 95 %.

    An interval comes from the bootstrap over replicates; where these agree, from the scatter of the
    cells about the law; it is None where that tells nothing either. `aicc` is over the replicates'
    answers, lower is better; `r2` over the means of the cells in which every replicate passed.
    """

    shape: Shape
    values_BK: Floats = field(repr=False)
    weight_BN: Floats = field(repr=False)
    """The draws' weights: which answers each row of `values_BK` after the first was fitted to."""
    sigma: float
    aicc: float
    r2: float
    replicates: tuple[int, ...]
    censored: int
    scatter: Scatter | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """The name of its shape."""
        return self.shape.kind

    @property
    def values(self) -> dict[str, float]:
        """The estimate, by name."""
        names = self.shape.names
        return {name: float(self.values_BK[0, index]) for index, name in enumerate(names)}

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """The interval of every parameter that the draws share."""
        kept = self.shape.shared
        found = intervals(
            self.values_BK[0, :kept], self.values_BK[1:, :kept], self.weight_BN, self.replicates
        )
        along_KP = np.eye(kept, len(self.shape.design(self.values_BK[0], np.ones(1))[0]))
        filled = self._filled(found, self.values_BK[0, :kept], along_KP)
        return dict(zip(self.shape.names, filled, strict=False))

    def predict(self, facts_X: Floats) -> Floats:
        """Parameters that the law says these numbers of facts need."""
        return self.shape.curve(self.values_BK[:1], facts_X)[0]

    def band(self, facts_X: Floats) -> list[Interval | None]:
        """The interval of the law at each number of facts."""
        curve_BX = self.shape.curve(self.values_BK, facts_X)
        found = intervals(curve_BX[0], curve_BX[1:], self.weight_BN, self.replicates)
        return self._filled(found, curve_BX[0], self.shape.design(self.values_BK[0], facts_X))

    def _filled(
        self, found: list[Interval | None], at_X: Floats, along_XP: Floats
    ) -> list[Interval | None]:
        if self.scatter is None:
            return found
        return [
            one or self.scatter.interval(at, along_P)
            for one, at, along_P in zip(found, at_X, along_XP, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """The law as plain numbers."""
        return {
            **self.values,
            "interval": {
                name: list(found) if found else None for name, found in self.intervals.items()
            },
            "sigma": self.sigma,
            "aicc": with_nulls(self.aicc),
            "r2": with_nulls(self.r2),
            "answers": sum(self.replicates),
            "censored": self.censored,
        }


def _line(values_BK: Floats, facts_X: Floats) -> Floats:
    intercept_B1, slope_B1 = values_BK[:, :1], values_BK[:, 1:]
    return intercept_B1 + slope_B1 * facts_X


def _logarithm(values_BK: Floats, facts_X: Floats) -> Floats:
    return _line(values_BK, np.log2(facts_X))


def _plateau(values_BK: Floats, facts_X: Floats) -> Floats:
    value_B1, rise_B1, knee_B1 = values_BK[:, :1], values_BK[:, 1:2], values_BK[:, 2:]
    return value_B1 - rise_B1 * np.maximum(0.0, np.log2(knee_B1 / facts_X))


def _line_design(value_K: Floats, facts_X: Floats) -> Floats:
    return np.column_stack([np.ones_like(facts_X), facts_X])


def _logarithm_design(value_K: Floats, facts_X: Floats) -> Floats:
    return _line_design(value_K, np.log2(facts_X))


def _plateau_design(value_K: Floats, facts_X: Floats) -> Floats:
    """A flat plateau has one coefficient."""
    ones_X, rise_X = np.ones_like(facts_X), -np.maximum(0.0, np.log2(value_K[2] / facts_X))
    return np.column_stack([ones_X, rise_X] if value_K[1] else [ones_X])


LINE = Shape("line", ("intercept", "slope"), _line, _line_design, shared=2)
LOGARITHM = Shape("logarithm", ("at_one", "per_doubling"), _logarithm, _logarithm_design, shared=2)
# The way up to a plateau depends on the knee, which draws choose anew.
PLATEAU = Shape("plateau", ("value", "per_doubling", "knee"), _plateau, _plateau_design, shared=1)


@dataclass(frozen=True)
class _Answers:
    """The replicates' answers of one curve, cell after cell."""

    facts_N: Floats
    size_N: Floats
    censored_N: NDArray[np.bool_]
    replicates: tuple[int, ...]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> "_Answers":
        if sum(bool(cell.passed) for cell in cells) < 3:
            raise UserError(
                "a fit needs three numbers of facts at which some model passes",
                cure="run more values of `task.people`",
            )
        facts_N = np.array([cell.facts for cell in cells for _ in cell.answers], dtype=np.float64)
        size_N = np.array(
            [answer.size for cell in cells for answer in cell.answers], dtype=np.float64
        )
        censored_N = np.array([not answer.passed for cell in cells for answer in cell.answers])
        return cls(facts_N, size_N, censored_N, tuple(len(cell.answers) for cell in cells))

    def with_origin(self) -> "_Answers":
        """One more cell: no facts, no parameters."""
        censored_N = np.append(False, self.censored_N)
        return _Answers(
            np.append(0.0, self.facts_N),
            np.append(0.0, self.size_N),
            censored_N,
            (1, *self.replicates),
        )

    def fit(
        self, columns: Sequence[Floats], weight_BN: Floats, noise_N: Floats | None = None
    ) -> Fitted:
        """The estimate, then the draws; `columns` multiply the coefficients after the constant."""
        design_NP = np.column_stack([np.ones_like(self.size_N), *columns])
        return fit_censored(
            design_NP,
            self.size_N,
            self.censored_N,
            np.concatenate([cell_weights(self.replicates), weight_BN]),
            noise_N,
        )

    def law(
        self,
        shape: Shape,
        values_BK: Floats,
        weight_BN: Floats,
        fitted: Fitted,
        freedom: int,
    ) -> CostLaw:
        """The law with its measures; `freedom` counts its parameters and sigma."""
        aicc = float(_aicc(fitted.log_likelihood_B[:1], len(self.size_N), freedom)[0])
        starts = np.cumsum((0, *self.replicates))
        whole = [
            slice(first, last)
            for first, last in pairwise(starts)
            if not self.censored_N[first:last].any()
        ]
        mean_X = np.array([self.size_N[cell].mean() for cell in whole])
        facts_X = np.array([self.facts_N[cell][0] for cell in whole])
        said_X = shape.curve(values_BK[:1], facts_X)[0]
        share = r2(mean_X, said_X) if whole else float("nan")
        scatter = Scatter.of(shape.design(values_BK[0], facts_X), mean_X, said_X)
        sigma, censored = float(fitted.sigma_B[0]), int(self.censored_N.sum())
        return CostLaw(
            shape, values_BK, weight_BN, sigma, aicc, share, self.replicates, censored, scatter
        )


def linear(
    cells: Sequence[Cell],
    *,
    origin: bool = False,
    noise: Noise = "constant",
    draws: int = DRAWS,
    seed: int = 0,
) -> CostLaw:
    """params = intercept + slope * facts; every cell counts alike.

    Raises UserError below three cells with an answer.

    `origin` adds the point (0, 0) with the weight of a cell; without censored replicates that is
    `np.polyfit` of degree one over the cells' means, as published. `noise="relative"` lets the
    noise grow in proportion to the line, so that small models count as much as large ones.
    """
    assert not (origin and noise == "relative"), "the origin has no relative noise"
    answers = _Answers.of(cells)
    answers = answers.with_origin() if origin else answers
    noise_N = _relative_noise(answers) if noise == "relative" else None
    weight_BN = draw_weights(answers.replicates, draws, seed)
    fitted = answers.fit([answers.facts_N], weight_BN, noise_N)
    return answers.law(LINE, fitted.coefficients_BP, weight_BN, fitted, 3)


def _relative_noise(answers: _Answers) -> Floats:
    """Noise in proportion to the line, by fitting again under the last line's noise."""
    noise_N = np.ones_like(answers.size_N)
    for _ in range(20):
        fitted = answers.fit([answers.facts_N], np.empty((0, len(noise_N))), noise_N)
        line_N = np.maximum(
            _line(fitted.coefficients_BP, answers.facts_N)[0], 0.05 * answers.size_N.min()
        )
        noise_N = line_N / line_N.mean()
    return noise_N


def logarithm(cells: Sequence[Cell], *, draws: int = DRAWS, seed: int = 0) -> CostLaw:
    """params = at_one + per_doubling * log2(facts): it never levels off."""
    answers = _Answers.of(cells)
    weight_BN = draw_weights(answers.replicates, draws, seed)
    fitted = answers.fit([np.log2(answers.facts_N)], weight_BN)
    return answers.law(LOGARITHM, fitted.coefficients_BP, weight_BN, fitted, 3)


def plateau(cells: Sequence[Cell], *, draws: int = DRAWS, seed: int = 0) -> CostLaw:
    """params = value from `knee` facts on, and value - per_doubling * log2(knee / facts) below it.

    The knee is the one of lowest AICc, at a number of facts that was run or half-way between two,
    chosen anew in every draw: at least two cells stand on the plateau and two up to the knee, or
    else all stand on it.
    """
    answers = _Answers.of(cells)
    weight_BN = draw_weights(answers.replicates, draws, seed)
    facts = [cell.facts for cell in cells]
    between = [float(np.sqrt(low * high)) for low, high in pairwise(facts)]
    knees = [float(facts[0]), *sorted([*map(float, facts[1:-1]), *between[1:-1]])]
    broken = [
        answers.fit([np.minimum(0.0, np.log2(answers.facts_N / knee))], weight_BN)
        for knee in knees[1:]
    ]
    fits, freedom = [answers.fit([], weight_BN), *broken], [2] + [4] * len(broken)
    score_FB = np.array(
        [
            _aicc(fit.log_likelihood_B, len(answers.size_N), free)
            for fit, free in zip(fits, freedom, strict=True)
        ]
    )
    best_B = np.where(np.isnan(score_FB), np.inf, score_FB).argmin(axis=0)
    values_BK = np.array(
        [
            [*(*fits[best].coefficients_BP[row], 0.0)[:2], knees[best]]
            for row, best in enumerate(best_B)
        ]
    )
    best = best_B[0]
    return answers.law(PLATEAU, values_BK, weight_BN, fits[best], freedom[best])


def _aicc(log_likelihood_B: Floats, answers: int, freedom: int) -> Floats:
    """Akaike's criterion with the small-sample term (Hurvich and Tsai 1989); infinite where there
    are too few answers.
    """
    spare = answers - freedom - 1
    return (
        2 * freedom
        - 2 * log_likelihood_B
        + (2 * freedom * (freedom + 1) / spare if spare > 0 else np.inf)
    )


def r2(seen_X: Floats, said_X: Floats) -> float:
    """The coefficient of determination; NaN where all that is seen is one value."""
    total = float(((seen_X - seen_X.mean()) ** 2).sum()) if len(seen_X) else 0.0
    return 1 - float(((seen_X - said_X) ** 2).sum()) / total if total > 0 else float("nan")
