"""Variable projection: an independent way to the optimum of a law that is linear in all but its
exponents.

For given exponents the other coefficients are found by non-negative least squares; what is left to
search is small and well-conditioned (Golub and Pereyra 1973). Under Huber's loss, or a logarithmic
residual, the inner problem is solved by reweighted steps. It shares with `fit.minimise` nothing but
the formula: agreement says that neither is stuck.

Shape letters: N rows, L linear coefficients, Q others, P = L + Q.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize, nnls

from scalelab.fit import formula
from scalelab.fit.formula import Floats, Node, Number, Product, Sum, Symbol
from scalelab.fit.problem import Problem

_MOST = 4
"""More exponents than this are not searched."""

_GRID = (0.15, 0.5, 0.85)
"""Places in the box of each exponent where the search is begun."""

_BEGUN, _STEPS, _SETTLED = 3, 60, 1e-9


@dataclass(frozen=True)
class CrossCheck:
    """What variable projection found."""

    objective: float
    coefficients: dict[str, float]
    begun: int
    """How many places in the space of the exponents were tried first."""


def cross_check(problem: Problem) -> CrossCheck | None:
    """The best that variable projection finds; None where the law does not allow it, or has too
    many exponents.
    """
    linear = _linear(problem)
    if linear is None or len(linear.outer) > _MOST:
        return None
    places = [
        np.array(place) for place in product(*[linear.places(index) for index in linear.outer])
    ]
    begun = sorted(places, key=lambda place_Q: linear.objective(place_Q, steps=8))[:_BEGUN]
    if not linear.outer:
        return linear.checked(np.zeros(0), 1)
    found = [
        minimize(
            linear.objective,
            place_Q,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-13, "maxfev": 400 * len(place_Q)},
        )
        for place_Q in begun
    ]
    best = min(found, key=lambda one: one.fun)
    return linear.checked(best.x, len(places))


@dataclass
class _Linear:
    """The law as a sum of linear coefficients times columns that depend on the others."""

    problem: Problem
    terms: Mapping[str, Node]
    """Linear coefficient -> what it multiplies."""
    rest: Node
    outer: list[int]
    """Parameters that are searched."""
    last_L: Floats | None = None

    def places(self, index: int) -> list[float]:
        """Where the search may begin along one parameter."""
        low, high = self.problem.axes[index].start
        return [low + share * (high - low) for share in _GRID]

    def objective(self, place_Q: Floats, steps: int = _STEPS) -> float:
        """The least objective at given exponents; infinite outside their bounds."""
        axes = [self.problem.axes[index] for index in self.outer]
        if any(
            not axis.lower <= value <= axis.upper for axis, value in zip(axes, place_Q, strict=True)
        ):
            return np.inf
        values, rows = {**self.problem.columns, **self._values(place_Q)}, len(self.problem.y_N)
        columns = [
            np.broadcast_to(formula.evaluate(term, values), rows) for term in self.terms.values()
        ]
        design_NL = np.stack(columns, axis=1)
        rest_N = np.broadcast_to(formula.evaluate(self.rest, values), rows)
        if not (np.isfinite(design_NL).all() and np.isfinite(rest_N).all()):
            return np.inf
        self.last_L, value = _Inner(self.problem, design_NL, rest_N).solve(steps)
        return value

    def _values(self, place_Q: Floats) -> dict[str, float]:
        theta_1P = np.zeros((1, len(self.problem.axes)))
        theta_1P[0, self.outer] = place_Q
        return {
            name: float(value[0]) for name, value in self.problem.coefficients(theta_1P).items()
        }

    def checked(self, place_Q: Floats, begun: int) -> CrossCheck | None:
        """The result at the best place."""
        value = self.objective(place_Q, steps=10 * _STEPS)
        if self.last_L is None or not np.isfinite(value):
            return None
        linear = {name: float(found) for name, found in zip(self.terms, self.last_L, strict=True)}
        return CrossCheck(value, {**self._values(place_Q), **linear}, begun)


@dataclass
class _Inner:
    """The linear coefficients at given exponents."""

    problem: Problem
    design_NL: Floats
    rest_N: Floats

    def solve(self, steps: int) -> tuple[Floats, float]:
        """Coefficients and objective, by reweighted non-negative least squares."""
        y_N, is_log = self.problem.y_N, self.problem.law.residual == "log"
        best_L = self._least_squares(
            y_N - self.rest_N, self.problem.weight_N / (y_N**2 if is_log else 1.0)
        )
        best, residual_N, predicted_N = self._at(best_L)
        slow = 0
        for _ in range(steps):
            if not np.isfinite(best) or slow > 2:
                break
            weight_N = (
                self.problem.weight_N
                * self._weights(residual_N)
                / (predicted_N**2 if is_log else 1.0)
            )
            aim_N = predicted_N * (1 - residual_N) if is_log else y_N
            towards_L = self._least_squares(aim_N - self.rest_N, weight_N)
            slow += 1
            for share in (1.0, 0.3, 0.05):
                tried_L = best_L + share * (towards_L - best_L)
                value, tried_residual_N, tried_N = self._at(tried_L)
                if value < best:
                    slow = 0 if value < best * (1 - _SETTLED) else slow
                    best_L, best, residual_N, predicted_N = (
                        tried_L,
                        value,
                        tried_residual_N,
                        tried_N,
                    )
                    break
        return best_L, best

    def _least_squares(self, aim_N: Floats, weight_N: Floats) -> Floats:
        root_N = np.sqrt(weight_N)
        design_NL = self.design_NL * root_N[:, None]
        size_L = np.maximum(np.linalg.norm(design_NL, axis=0), 1e-300)
        try:
            return nnls(design_NL / size_L, aim_N * root_N)[0] / size_L
        except RuntimeError:  # it gave up on an ill-conditioned design
            return np.zeros(len(size_L))

    def _weights(self, residual_N: Floats) -> Floats:
        loss = self.problem.law.loss
        return (
            np.ones(1)
            if loss.kind == "squared"
            else loss.delta / np.maximum(np.abs(residual_N), loss.delta)
        )

    def _at(self, linear_L: Floats) -> tuple[float, Floats, Floats]:
        predicted_N = self.rest_N + self.design_NL @ linear_L
        with np.errstate(all="ignore"):
            residual_N = (
                np.log(predicted_N) if self.problem.law.residual == "log" else predicted_N
            ) - self.problem.target_N
        size_N, loss = np.abs(residual_N), self.problem.law.loss
        flat_N = np.minimum(size_N, loss.delta)
        loss_N = residual_N**2 if loss.kind == "squared" else flat_N * (size_N - 0.5 * flat_N)
        value = float((self.problem.weight_N * loss_N).sum())
        return value if np.isfinite(value) else np.inf, residual_N, predicted_N


def _linear(problem: Problem) -> _Linear | None:
    """The law split into its linear coefficients and the rest; None where it has no free linear
    one.
    """
    parts = _expanded(problem.law.reduced)
    times = [name for part in parts for name in _occurrences(part)]
    terms: dict[str, Node] = {}
    rest: list[Node] = []
    for part in parts:
        name = _multiplier(part, problem, times)
        if name is None:
            rest.append(part)
        else:
            terms[name] = formula.substitute(part, {name: Number(1.0)})
    if not terms:
        return None
    outer = [index for index, name in enumerate(problem.names) if name not in terms]
    return _Linear(problem, terms, Sum(tuple(rest)) if rest else Number(0.0), outer)


def _multiplier(part: Node, problem: Problem, times: list[str]) -> str | None:
    """The positive coefficient without bounds that multiplies a term and stands nowhere else."""
    for factor in part.factors if isinstance(part, Product) else (part,):
        if (
            isinstance(factor, Symbol)
            and factor.name in problem.names
            and times.count(factor.name) == 1
        ):
            is_log = problem.axes[problem.names.index(factor.name)].is_log
            if is_log and factor.name not in problem.law.bounds:
                return factor.name
    return None


def _occurrences(node: Node) -> list[str]:
    return (
        [node.name]
        if isinstance(node, Symbol)
        else [name for child in formula.children(node) for name in _occurrences(child)]
    )


def _expanded(node: Node) -> list[Node]:
    """The terms of a sum, with products of sums multiplied out."""
    match node:
        case Sum(terms=terms):
            return [part for term in terms for part in _expanded(term)]
        case Product(factors=factors):
            expanded = [_expanded(factor) for factor in factors]
            return [Product(tuple(_flat(choice))) for choice in product(*expanded)]
    return [node]


def _flat(factors: tuple[Node, ...]) -> list[Node]:
    return [
        part
        for factor in factors
        for part in (factor.factors if isinstance(factor, Product) else (factor,))
    ]
