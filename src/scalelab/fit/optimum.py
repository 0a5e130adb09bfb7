"""The optimum of a fit, reached from many starts, with what says whether to believe it.

Shape letters: S starts, P parameters, K local minima.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scalelab.core.errors import UserError
from scalelab.fit.formula import Floats
from scalelab.fit.grids import GRIDS, Grid
from scalelab.fit.law import Choices
from scalelab.fit.layout import FLOOR
from scalelab.fit.minimise import Minima, Tell, minimise
from scalelab.fit.problem import Problem

SAME = 1e-6
"""Starts whose objective is the best one to this share of it are at the best."""

_RIDGE = 1e-2
_RIVALS, _NEAR = 2, 2.0
_DRAWN = 10
"""Places drawn for each start, the best of which it is."""

_TOURS, _AWAY = 4, np.geomspace(0.03, 1.0, 40)
"""How often the best is left again, and how far in widths of the box."""


@dataclass(frozen=True)
class Optimum:
    """The best of all starts. `coefficients` holds every one, tied and fixed ones too."""

    coefficients: dict[str, float]
    objective: float
    tried: int
    at_best: int
    """How many starts ended at the best objective; none where it was only found by going on from
    the best start.
    """
    objectives_S: Floats = field(repr=False)
    """Where the starts ended, ascending."""
    gradient_norm: float
    """Of the objective over normalised parameters that no bound holds, as a share of the objective;
    zero where the law meets every row.
    """
    moved: bool
    """Whether the parameters left the start that led here."""
    at_bounds: tuple[str, ...]
    """Coefficients that lie at a bound, or at zero."""
    ridges: dict[str, tuple[float, float]]
    """Coefficients that differ between starts of the same best objective, with the range: these the
    rows do not tell.
    """
    box: str
    """A sentence that names what the starts were drawn from."""
    theta_P: Floats = field(repr=False)
    rivals_KP: Floats = field(repr=False)
    """Other local minima whose objective is not far above the best."""


def optimise(problem: Problem, choices: Choices | None = None, tell: Tell | None = None) -> Optimum:
    """Minimise from every start that `choices` asks for.

    Raises UserError where no start has a finite objective.
    """
    choices = choices or Choices()
    if not problem.axes:
        return _nothing_free(problem)
    starts_SP, box = starts(problem, choices)
    minima = minimise(problem, starts_SP, tell=tell)
    if not np.isfinite(minima.objective_S).any():
        raise UserError(
            f"the law `{problem.law.name}` has no value on these rows",
            cure="take powers of positive columns only",
        )
    found = _optimum(problem, minima, _around(problem, minima, choices.seed), box)
    if not np.isfinite(problem.objective(found.coefficients)):
        raise UserError(
            f"the law `{problem.law.name}` has coefficients that float64 cannot hold",
            cure="write it with numbers nearer to one",
        )
    return found


def resume(
    problem: Problem, optimum: Optimum, coefficients: Mapping[str, float], seed: int
) -> Optimum:
    """Go on from coefficients of a lower objective than the optimum's, which stays as a rival."""
    best = _around(problem, minimise(problem, problem.theta(coefficients)), seed)
    objective = float(best.objective_S[0])
    theta_P, held = _settled(problem, best.theta_SP[0])
    same_S = optimum.objectives_S <= objective * (1 + SAME) + problem.negligible
    return replace(
        optimum,
        coefficients=_coefficients(problem, theta_P),
        objective=objective,
        at_best=int(same_S.sum()),
        gradient_norm=_gradient_norm(problem, best),
        moved=True,
        at_bounds=held,
        ridges={},
        theta_P=theta_P,
        rivals_KP=np.concatenate([optimum.theta_P[None], optimum.rivals_KP[: _RIVALS - 1]]),
    )


def _around(problem: Problem, minima: Minima, seed: int) -> Minima:
    """The best start's minimum, or a lower one that is found by going on from places around it."""
    best = minima.at(int(minima.objective_S.argmin()))
    width_P = np.array([axis.start[1] - axis.start[0] for axis in problem.axes])
    rng = np.random.default_rng(seed)
    for _ in range(_TOURS):
        away_SP = rng.normal(size=(len(_AWAY), len(width_P))) * width_P * _AWAY[:, None]
        found = minimise(problem, best.theta_SP + away_SP)
        if not found.objective_S.min() < best.objective_S[0] * (1 - SAME):
            break
        best = found.at(int(found.objective_S.argmin()))
    return best


def _optimum(problem: Problem, minima: Minima, best: Minima, box: str) -> Optimum:
    objective = float(best.objective_S[0])
    same_S = minima.objective_S <= objective * (1 + SAME) + problem.negligible
    theta_P, held = _settled(problem, best.theta_SP[0])
    values = problem.coefficients(np.concatenate([theta_P[None], minima.theta_SP[same_S]]))
    ranges = {
        name: (float(values[name].min()), float(values[name].max()))
        for name in problem.names
        if name not in held
    }
    return Optimum(
        coefficients=_coefficients(problem, theta_P),
        objective=objective,
        tried=len(minima.objective_S),
        at_best=int(same_S.sum()),
        objectives_S=np.sort(minima.objective_S),
        gradient_norm=_gradient_norm(problem, best),
        moved=bool(best.moved_S[0]),
        at_bounds=held,
        ridges={
            name: (low, high)
            for name, (low, high) in ranges.items()
            if high - low > _RIDGE * max(abs(low), abs(high), 1e-300)
        },
        box=box,
        theta_P=theta_P,
        rivals_KP=_rivals(minima, same_S),
    )


def _coefficients(problem: Problem, theta_P: Floats) -> dict[str, float]:
    values = problem.coefficients(theta_P[None])
    return {name: float(value[0]) for name, value in values.items()}


def _gradient_norm(problem: Problem, best: Minima) -> float:
    objective = float(best.objective_S[0])
    return float(best.gradient_norm_S[0]) / objective if objective > problem.negligible else 0.0


def _settled(problem: Problem, theta_P: Floats) -> tuple[Floats, tuple[str, ...]]:
    """The parameters, a constant that is nothing set to zero; and the names of those that lie at a
    bound or are nothing in every row.
    """
    near_P = 1e-7 * np.maximum(1.0, np.abs(theta_P))
    held_P = (theta_P <= problem.lower_P + near_P) | (theta_P >= problem.upper_P - near_P)
    nothing_P = np.zeros(len(problem.axes), dtype=bool)
    for index, axis in enumerate(problem.axes):
        if axis.term:
            without_P = theta_P.copy()
            without_P[index] = axis.lower
            values = problem.coefficients(np.stack([theta_P, without_P]))
            whole_N, rest_N = problem.predict(values)
            nothing_P[index] = np.allclose(whole_N, rest_N, rtol=1e-7, atol=0.0)
    constant_P = problem.lower_P == -FLOOR
    names = tuple(
        name for name, held in zip(problem.names, held_P | nothing_P, strict=True) if held
    )
    return np.where(nothing_P & constant_P, -FLOOR, theta_P), names


def _rivals(minima: Minima, same_S: NDArray[np.bool_]) -> Floats:
    """One set for each of the next-best objectives at which a descent ended."""
    objective = float(minima.objective_S.min())
    order_S = np.argsort(minima.objective_S)
    order_S = order_S[minima.ended_S[order_S]]
    chosen: list[int] = []
    last = objective
    for index in order_S[~same_S[order_S]]:
        value = minima.objective_S[index]
        if len(chosen) == _RIVALS or not value < _NEAR * objective:
            break
        if value > last * (1 + 1e-3):
            chosen.append(int(index))
            last = value
    return minima.theta_SP[chosen]


def _nothing_free(problem: Problem) -> Optimum:
    none: Floats = np.zeros(0)
    fixed = _coefficients(problem, none)
    objective = problem.objective(fixed)
    return Optimum(
        fixed,
        objective,
        1,
        1,
        np.array([objective]),
        0.0,
        False,
        (),
        {},
        "every coefficient is fixed",
        none,
        np.zeros((0, 0)),
    )


def starts(problem: Problem, choices: Choices) -> tuple[Floats, str]:
    """Starts [S, P] and the sentence that says what they were drawn from."""
    if isinstance(choices.starts, str):
        return _grid(problem, GRIDS[choices.starts])
    number = int(choices.starts)
    low_P = np.array([axis.start[0] for axis in problem.axes])
    high_P = np.array([axis.start[1] for axis in problem.axes])
    drawn_SP = np.random.default_rng(choices.seed).uniform(
        low_P, high_P, (number * _DRAWN, len(problem.axes))
    )
    value_SW = problem.value_and_gradient(drawn_SP)[0].reshape(number, _DRAWN)
    chosen_SP = drawn_SP.reshape(number, _DRAWN, -1)[np.arange(number), value_SW.argmin(axis=1)]
    says = "; ".join(axis.says for axis in problem.axes)
    how = (
        f"each the best of {_DRAWN} places drawn evenly (seed {choices.seed}; positive coefficients"
        " by their logarithms)"
    )
    return chosen_SP, f"{number} starts, {how} from the box {says}"


def _grid(problem: Problem, grid: Grid) -> tuple[Floats, str]:
    if set(problem.law.coefficients) != set(grid.values):
        raise UserError(
            f"{grid.about}, not for `{problem.law.name}`", cure="give a number of starts"
        )
    values = {name: grid.values[name] for name in problem.names}
    mesh = np.meshgrid(*values.values(), indexing="ij")
    where = {name: value.ravel() for name, value in zip(values, mesh, strict=True)}
    starts_SP = problem.theta(where).reshape(mesh[0].size, len(values))
    return starts_SP, f"the {len(starts_SP)} starts of {grid.source}: {grid.says}"
