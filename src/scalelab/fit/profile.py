"""Profiles: the objective along one coefficient, with all others fitted anew at each of its values.

An interval holds the values at which the objective lies no higher than chance explains. For an
M-estimator twice the rise over a noise scale kappa is about chi-squared (Heritier and Ronchetti
1994, JASA 89:897); a profile that never rises so far on a side tells that the rows do not identify
the coefficient.

Shape letters: X values of the coefficient, P parameters, N rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import f as fisher

from scalelab.core.errors import UserError, nearest
from scalelab.fit.formula import Floats
from scalelab.fit.minimise import minimise
from scalelab.fit.optimum import Optimum
from scalelab.fit.problem import Problem

_REACH = np.geomspace(1e-4, 1.0, 22)
_LOG_REACH, _REAL_REACH = 12.0, 3.0
"""How far from the optimum a profile looks: in the logarithm of a positive coefficient, and in a
real one.
"""

_QUARTER = 0.25
_AT_ONCE = 4
_PASSES = 6
_ZOOMS = 5
_COARSE = 0.2
"""An end nearer than this share of where it was guessed is looked at anew, from nearer by."""
_SPAN = 1.6
"""How far beyond its interval a profile is drawn."""


@dataclass(frozen=True)
class Profile:
    """The objective along one coefficient.

    An end of the interval is None where the objective never rises enough.
    """

    name: str
    values_X: Floats = field(repr=False)
    objective_X: Floats = field(repr=False)
    objective: float
    """The least that was seen."""
    lowest: Mapping[str, float] = field(repr=False)
    """The coefficients of the least objective."""
    threshold: float
    """The objective at the ends of the interval."""
    ends: tuple[float | None, float | None]
    noise: str
    """What the interval takes for the noise of the rows, with its value."""
    scale: float

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The interval; None where the rows do not identify the coefficient on some side."""
        low, high = self.ends
        return None if low is None or high is None else (low, high)


def noise_scale(problem: Problem, optimum: Optimum) -> tuple[float, str]:
    """kappa, the mean square of the loss's slope over its mean curvature, and a sentence that says
    so.

    Where delta is small, few rows lie in the square part of Huber's loss, and most of these are the
    ones that the fit meets nearly exactly, as many as it has coefficients: they say nothing of the
    density of errors near zero (Koenker 2005, Quantile Regression, section 4.10.1), and counting
    them makes intervals too narrow. The curvature is then counted over the other rows, in a window
    that holds a quarter of them.
    """
    residual_N, weight_N = problem.residuals(optimum.coefficients), problem.weight_N
    spare = max(1, len(residual_N) - len(problem.axes))
    degrees = len(residual_N) / spare
    if problem.law.loss.kind == "squared":
        kappa = 2 * degrees * float((weight_N * residual_N**2).mean())
        return kappa, f"residual variance {kappa / 2:.4g} ({spare} degrees of freedom)"
    delta = problem.law.loss.delta
    order_N = np.argsort(np.abs(residual_N))[-spare:]
    window = float(np.quantile(np.abs(residual_N[order_N]), _QUARTER))
    if window > delta:
        residual_N, weight_N = residual_N[order_N], weight_N[order_N]
    window = max(delta, window)
    slope_N = np.clip(residual_N, -delta, delta)
    curvature = float((weight_N * (np.abs(residual_N) <= window)).mean()) * delta / window
    kappa = degrees * float((weight_N**2 * slope_N**2).mean()) / curvature
    return (
        kappa,
        (
            f"kappa {kappa:.4g}: mean squared slope of Huber's loss over its curvature within"
            f" {window:.3g} ({spare} degrees of freedom)"
        ),
    )


def profile(problem: Problem, optimum: Optimum, name: str, points: int = 41) -> Profile:
    """The profile of a free coefficient over its interval and some way beyond.

    Raises UserError for another name.
    """
    if name not in problem.names:
        raise UserError(
            f"`{name}` is no free coefficient of `{problem.law.name}`",
            cure=nearest(name, list(problem.names)),
        )
    along = _Along.of(problem, optimum, name)
    kappa, noise = noise_scale(problem, optimum)
    spare = max(1, len(problem.y_N) - len(problem.axes))
    height = 0.5 * kappa * float(fisher.ppf(0.95, 1, spare))
    low, high = along.search(height)
    fine_X, objective_X, threshold = np.empty(0), np.empty(0), 0.0
    for _ in range(_ZOOMS):
        fine_X, objective_X = along.refit(along.fine(low, high, points))
        threshold = float(objective_X.min()) + height
        found = _crossings(fine_X, objective_X, threshold)
        guessed, (low, high) = (
            (low, high),
            (_zoomed(low, found[0], along.centre), _zoomed(high, found[1], along.centre)),
        )
        if (low, high) == guessed:
            break
    low, high = _crossings(fine_X, objective_X, threshold)
    # The least may lie a hair beside the optimum.
    return Profile(
        name,
        along.values(fine_X),
        objective_X,
        float(objective_X.min()),
        along.lowest(),
        threshold,
        (
            None if low is None else along.value(min(low, along.centre)),
            None if high is None else along.value(max(high, along.centre)),
        ),
        noise,
        kappa,
    )


def _zoomed(guess: float | None, found: float | None, centre: float) -> float | None:
    """The end to look at next: the same where the places lie well about it, nearer or farther where
    the guess was far off.
    """
    if guess is None:
        return None
    if found is None:
        return centre + 3 * (guess - centre)
    return found if abs(found - centre) < _COARSE * abs(guess - centre) else guess


def _crossings(
    x_X: Floats, objective_X: Floats, threshold: float
) -> tuple[float | None, float | None]:
    """Where the objective, going out from its least, first rises over the threshold on
    either side.
    """
    best = int(objective_X.argmin())
    return _crossing(x_X[best::-1], objective_X[best::-1], threshold), _crossing(
        x_X[best:], objective_X[best:], threshold
    )


def _crossing(x_X: Floats, objective_X: Floats, threshold: float) -> float | None:
    above = np.flatnonzero(~(objective_X <= threshold))
    if not len(above):
        return None
    after = int(above[0])
    # In the root of its rise over the least, an objective is about straight: it is about a
    # parabola.
    root_X = np.sqrt(objective_X[after - 1 : after + 1] - objective_X[0])
    steep = root_X[1] - root_X[0]
    share = (
        (np.sqrt(threshold - objective_X[0]) - root_X[0]) / steep
        if np.isfinite(steep) and steep > 0
        else 0.0
    )
    return float(x_X[after - 1] + share * (x_X[after] - x_X[after - 1]))


@dataclass
class _Along:
    """The problem with one coefficient as a parameter of its own, and every refit made so far."""

    problem: Problem
    axis: int
    centre: float
    theta_XP: Floats
    objective_X: Floats
    inverse_PP: Floats | None

    @classmethod
    def of(cls, problem: Problem, optimum: Optimum, name: str) -> "_Along":
        """A coefficient with bounds takes up no scale, so that it can be held by itself."""
        own_axis = problem.axes[problem.names.index(name)]
        bounds = problem.law.bounds.get(name) or own_axis.told
        bounds = bounds or ((0.0, np.inf) if own_axis.is_log else (-np.inf, np.inf))
        law = replace(problem.law, bounds={**problem.law.bounds, name: bounds})
        own = Problem.of(law, problem.columns, problem.y_N, problem.weight_N)
        theta_1P = own.theta(optimum.coefficients)
        axis = own.names.index(name)
        return cls(
            own,
            axis,
            float(theta_1P[0, axis]),
            theta_1P,
            np.array([optimum.objective]),
            own.inverse_hessian(theta_1P[0]),
        )

    def search(self, height: float) -> tuple[float | None, float | None]:
        """About where the objective rises by so much on either side; None where it does not.

        Places are looked at from very near the optimum to far away, some at a time on the sides
        that have not risen: far out a law may be absurd, and its refits endless.
        """
        axis = self.problem.axes[self.axis]
        reach = _REACH * (_LOG_REACH if axis.is_log else _REAL_REACH * max(1.0, abs(self.centre)))
        x_X, objective_X = self.refit(np.array([self.centre]))
        ends: tuple[float | None, float | None] = (None, None)
        for out in np.split(reach, range(_AT_ONCE, len(reach), _AT_ONCE)):
            down = self.centre - out if ends[0] is None else np.empty(0)
            up = self.centre + out if ends[1] is None else np.empty(0)
            further_X = np.setdiff1d(self._allowed(np.concatenate([down, up])), x_X)
            if not further_X.size:
                break
            found_X, found = self.refit(further_X)
            order_X = np.argsort(np.concatenate([x_X, found_X]))
            x_X = np.concatenate([x_X, found_X])[order_X]
            objective_X = np.concatenate([objective_X, found])[order_X]
            ends = _crossings(x_X, objective_X, float(objective_X.min()) + height)
        return ends

    def fine(self, low: float | None, high: float | None, points: int) -> Floats:
        """Evenly spaced places over the interval and beyond, the optimum among them; an open side
        as far as the other, or a little.
        """
        known = [abs(end - self.centre) for end in (low, high) if end is not None]
        other = max(known, default=1.0)
        left = other if low is None else self.centre - low
        right = other if high is None else high - self.centre
        half = points // 2
        down = self.centre - _SPAN * left * np.linspace(1, 0, half, endpoint=False)
        up = (
            self.centre + _SPAN * right * np.linspace(1, 0, points - half - 1, endpoint=False)[::-1]
        )
        return self._allowed(np.concatenate([down, [self.centre], up]))

    def _allowed(self, x_X: Floats) -> Floats:
        axis = self.problem.axes[self.axis]
        return np.unique(np.clip(x_X, axis.lower, axis.upper))

    def refit(self, x_X: Floats) -> tuple[Floats, Floats]:
        """Places and objectives.

        Every place starts at the nearest known refit, then at its neighbours', until none gets
        lower.
        """
        near_X = np.abs(self.theta_XP[None, :, self.axis] - x_X[:, None]).argmin(axis=1)
        theta_XP, objective_X = self._from(self.theta_XP[near_X], x_X)
        for _ in range(_PASSES):
            before_X = objective_X.copy()
            for shift in (1, -1):
                tried_XP, tried_X = self._from(np.roll(theta_XP, shift, axis=0), x_X)
                lower_X = tried_X < objective_X
                theta_XP[lower_X], objective_X[lower_X] = tried_XP[lower_X], tried_X[lower_X]
            if (objective_X >= before_X * (1 - 1e-7)).all():
                break
        self.theta_XP = np.concatenate([self.theta_XP, theta_XP])
        self.objective_X = np.concatenate([self.objective_X, objective_X])
        return x_X, objective_X

    def _from(self, start_XP: Floats, x_X: Floats) -> tuple[Floats, Floats]:
        start_XP = start_XP.copy()
        start_XP[:, self.axis] = x_X
        minima = minimise(
            self.problem, start_XP, hold=self.axis, light=False, inverse_PP=self.inverse_PP
        )
        return minima.theta_SP, minima.objective_S

    def lowest(self) -> dict[str, float]:
        """The coefficients of the lowest of all refits."""
        best = int(self.objective_X.argmin())
        values = self.problem.coefficients(self.theta_XP[best : best + 1])
        return {name: float(value[0]) for name, value in values.items()}

    def value(self, x: float) -> float:
        """The coefficient at a place."""
        return float(self.values(np.array([x]))[0])

    def values(self, x_X: Floats) -> Floats:
        """The coefficient at places."""
        theta_XP = np.repeat(self.theta_XP[:1], len(x_X), axis=0)
        theta_XP[:, self.axis] = x_X
        return self.problem.coefficients(theta_XP)[self.problem.names[self.axis]]
