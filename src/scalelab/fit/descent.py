"""BFGS for many sets of parameters at once, each at its own pace, within bounds.

A sum of Huber losses with a small delta is nearly a sum of absolute values: its slope turns at
every row, and the optimum lies where a few rows are met almost exactly. BFGS with a weak Wolfe
search by bisection copes with that (Lewis and Overton 2013, Mathematical Programming 141:135).
Every round evaluates all sets that are not finished in one call; finished ones are dropped.

Shape letters: S sets, P parameters, N rows, A sets that are meant.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from scalelab.fit.formula import Floats
from scalelab.fit.problem import Problem

Tell = Callable[[int], None]
"""Is told now and then how many sets are finished."""

Indices = NDArray[np.intp]

_ROUNDS = 1000
_ARMIJO, _WOLFE = 1e-4, 0.9
SETTLED, _PATIENCE = 1e-10, 4
"""A descent ends when so many steps in a row each gain less than this share of the objective."""

_FIRST, _LONGEST = 0.3, 5.0
"""Lengths of the first step and of the longest: parameters are logarithms and exponents."""

_TRIALS, _DOUBLINGS = 25, 12
_TOUCH = 1e-10
"""A parameter so near to a bound lies at it."""


@dataclass(frozen=True)
class Minima:
    """Where every set ended: the best point it has seen."""

    theta_SP: Floats
    objective_S: Floats
    gradient_norm_S: Floats
    """Of the objective over the parameters that no bound holds."""
    moved_S: NDArray[np.bool_]
    """Whether the parameters left their start."""
    ended_S: NDArray[np.bool_]
    """Whether the descent came to its end; False where it was cut off on a slope."""

    def at(self, index: int) -> "Minima":
        """One set alone."""
        one = slice(index, index + 1)
        return Minima(*(getattr(self, part.name)[one] for part in fields(self)))


def rows(value_SN: Floats | None, which_A: Indices) -> Floats | None:
    """What some of the sets have."""
    return None if value_SN is None else value_SN[which_A]


class Descent:
    """The state of every set; `run` brings all of them to their minima."""

    def __init__(
        self,
        problem: Problem,
        starts_SP: Floats,
        weight_SN: Floats | None,
        target_SN: Floats | None,
        tell: Tell | None,
        hold: int | None,
        inverse_PP: Floats | None = None,
    ) -> None:
        self.problem, self.weight_SN, self.target_SN, self.tell, self.hold = (
            problem,
            weight_SN,
            target_SN,
            tell,
            hold,
        )
        self.lower_P, self.upper_P = problem.lower_P, problem.upper_P
        self.theta_SP = np.clip(starts_SP, self.lower_P, self.upper_P)
        sets, width = self.theta_SP.shape
        self.value_S, self.gradient_SP = self._evaluate(self.theta_SP, np.arange(sets))
        known = np.eye(width) if inverse_PP is None else inverse_PP
        self.inverse_SPP = np.broadcast_to(known, (sets, width, width)).copy()
        self.fresh_S = np.full(sets, inverse_PP is None)
        """Whether the inverse Hessian is still the unit matrix."""
        self.ended_S = np.ones(sets, dtype=bool)
        self.step_SP, self.slope_S = np.zeros_like(self.theta_SP), np.zeros(sets)
        self.length_S, self.short_S, self.long_S = (
            np.ones(sets),
            np.zeros(sets),
            np.full(sets, np.inf),
        )
        """Share of the step that is tried next, and the shares known to be too short
        and too long.
        """
        self.held_SP = np.zeros_like(self.theta_SP, dtype=bool)
        self.reach_S = np.full(sets, np.inf)
        """Share of the step at which it meets a bound."""
        self.trials_S, self.slow_S = np.zeros(sets, dtype=np.intp), np.zeros(sets, dtype=np.intp)

    def _evaluate(self, theta_AP: Floats, which_A: Indices) -> tuple[Floats, Floats]:
        return self.problem.value_and_gradient(theta_AP, self.weight_SN, self.target_SN, which_A)

    def run(self) -> None:
        """Rounds until no set is active."""
        active_A = np.flatnonzero(np.isfinite(self.value_S))
        self._aim(active_A)
        active_A = active_A[self.slope_S[active_A] < 0]
        for _ in range(_ROUNDS):
            if not len(active_A):
                break
            before = len(active_A)
            active_A = self._round(active_A)
            if self.tell is not None and len(active_A) < before:
                self.tell(len(self.value_S) - len(active_A))
        self.ended_S[active_A] = False

    def _round(self, active_A: Indices) -> Indices:
        """Try one point for every active set; returns those that stay active."""
        tried_AP = self.theta_SP[active_A] + self.length_S[active_A, None] * self.step_SP[active_A]
        tried_AP = np.clip(tried_AP, self.lower_P, self.upper_P)
        value_A, gradient_AP = self._evaluate(tried_AP, active_A)
        self.trials_S[active_A] += 1
        bound_A = (
            self.value_S[active_A] + _ARMIJO * self.length_S[active_A] * self.slope_S[active_A]
        )
        long_A = ~(value_A <= bound_A)
        steep_A = (
            np.einsum("ap,ap->a", gradient_AP, self.step_SP[active_A])
            < _WOLFE * self.slope_S[active_A]
        )
        short_A = (
            ~long_A
            & steep_A
            & (self.trials_S[active_A] < _DOUBLINGS)
            & (self.length_S[active_A] < self.reach_S[active_A])
        )
        taken_A = ~long_A & ~short_A
        self._shorten(active_A[long_A], np.isfinite(value_A[long_A]))
        self._lengthen(active_A[short_A])
        self._accept(active_A[taken_A], tried_AP[taken_A], value_A[taken_A], gradient_AP[taken_A])
        stuck_A = active_A[long_A][self.trials_S[active_A[long_A]] > _TRIALS]
        # Sets whose search found nothing go downhill once more; those that did so already end.
        again_A = stuck_A[~self.fresh_S[stuck_A]]
        self._forget(again_A)
        self._aim(again_A)
        ended_A = np.concatenate(
            [
                stuck_A[~np.isin(stuck_A, again_A)],
                active_A[taken_A][self._settled(active_A[taken_A])],
            ]
        )
        return active_A[~np.isin(active_A, ended_A)]

    def _shorten(self, which_A: Indices, finite_A: NDArray[np.bool_]) -> None:
        self.long_S[which_A] = self.length_S[which_A]
        share_A = np.where(finite_A, 0.4, 0.1)
        self.length_S[which_A] = self.short_S[which_A] + share_A * (
            self.long_S[which_A] - self.short_S[which_A]
        )

    def _lengthen(self, which_A: Indices) -> None:
        self.short_S[which_A] = self.length_S[which_A]
        middle_A = 0.5 * (self.short_S[which_A] + self.long_S[which_A])
        longer_A = np.where(np.isinf(middle_A), 2.5 * self.length_S[which_A], middle_A)
        self.length_S[which_A] = np.minimum(longer_A, self.reach_S[which_A])

    def _accept(
        self, which_A: Indices, theta_AP: Floats, value_A: Floats, gradient_AP: Floats
    ) -> None:
        """Move, learn the curvature along the step and aim anew."""
        gain_A = self.value_S[which_A] - value_A
        self.slow_S[which_A] = np.where(
            gain_A <= SETTLED * np.abs(value_A), self.slow_S[which_A] + 1, 0
        )
        change_AP = np.where(self.held_SP[which_A], 0.0, gradient_AP - self.gradient_SP[which_A])
        self._learn(which_A, theta_AP - self.theta_SP[which_A], change_AP)
        self.theta_SP[which_A], self.value_S[which_A], self.gradient_SP[which_A] = (
            theta_AP,
            value_A,
            gradient_AP,
        )
        self._aim(which_A)

    def _learn(self, which_A: Indices, step_AP: Floats, change_AP: Floats) -> None:
        """The BFGS update of the inverse Hessian, where the slope has risen along the step."""
        along_A = np.einsum("ap,ap->a", step_AP, change_AP)
        square_A = np.einsum("ap,ap->a", change_AP, change_AP)
        rising_A = along_A > 1e-14 * np.sqrt(square_A * np.einsum("ap,ap->a", step_AP, step_AP))
        which_A, step_AP, change_AP, along_A = (
            which_A[rising_A],
            step_AP[rising_A],
            change_AP[rising_A],
            along_A[rising_A],
        )
        new_A = self.fresh_S[which_A]
        self.inverse_SPP[which_A[new_A]] *= (along_A / square_A[rising_A])[new_A, None, None]
        self.fresh_S[which_A] = False
        seen_AP = np.einsum("apq,aq->ap", self.inverse_SPP[which_A], change_AP)
        share_A = (1 + np.einsum("ap,ap->a", change_AP, seen_AP) / along_A) / along_A
        cross_APP = seen_AP[:, :, None] * (step_AP / along_A[:, None])[:, None, :]
        square_APP = share_A[:, None, None] * step_AP[:, :, None] * step_AP[:, None, :]
        self.inverse_SPP[which_A] += square_APP - cross_APP - cross_APP.transpose(0, 2, 1)

    def _held(self, which_A: Indices) -> NDArray[np.bool_]:
        """[A, P]: parameters that are held, or that lie at a bound and would go beyond."""
        theta_AP, gradient_AP = self.theta_SP[which_A], self.gradient_SP[which_A]
        low_AP, high_AP = theta_AP <= self.lower_P + _TOUCH, theta_AP >= self.upper_P - _TOUCH
        held_AP = (low_AP & (gradient_AP > 0)) | (high_AP & (gradient_AP < 0))
        if self.hold is not None:
            held_AP[:, self.hold] = True
        return held_AP

    def _leaving(self, which_A: Indices, step_AP: Floats) -> NDArray[np.bool_]:
        """[A, P]: parameters at a bound that the step would take beyond it."""
        theta_AP = self.theta_SP[which_A]
        return ((theta_AP <= self.lower_P + _TOUCH) & (step_AP < 0)) | (
            (theta_AP >= self.upper_P - _TOUCH) & (step_AP > 0)
        )

    def _aim(self, which_A: Indices) -> None:
        """A new step: the quasi-Newton one among the parameters that are not held, or downhill
        where nothing is known yet.
        """
        held_AP = self._held(which_A)
        step_AP = self._newton(which_A, held_AP)
        leaving_AP = self._leaving(which_A, step_AP) & ~held_AP
        if leaving_AP.any():
            held_AP |= leaving_AP
            step_AP = self._newton(which_A, held_AP)
        free_AP = np.where(held_AP, 0.0, self.gradient_SP[which_A])
        self._forget(which_A[~(np.einsum("ap,ap->a", step_AP, free_AP) < 0)])
        first_A = self.fresh_S[which_A]
        norm_A = np.maximum(np.linalg.norm(free_AP[first_A], axis=1), 1e-300)
        step_AP[first_A] = -free_AP[first_A] * (_FIRST / norm_A)[:, None]
        step_AP *= np.minimum(1.0, _LONGEST / np.maximum(np.abs(step_AP).max(axis=1), 1e-300))[
            :, None
        ]
        self.step_SP[which_A], self.slope_S[which_A] = (
            step_AP,
            np.einsum("ap,ap->a", step_AP, free_AP),
        )
        reach_A = self._reach(self.theta_SP[which_A], step_AP)
        self.reach_S[which_A], self.length_S[which_A] = reach_A, np.minimum(1.0, reach_A)
        self.short_S[which_A], self.long_S[which_A], self.trials_S[which_A] = 0.0, np.inf, 0

    def _newton(self, which_A: Indices, held_AP: NDArray[np.bool_]) -> Floats:
        """The quasi-Newton step; parameters that have come to be held are first taken out of the
        inverse Hessian.
        """
        newly_AP = held_AP & ~self.held_SP[which_A]
        for parameter in np.flatnonzero(newly_AP.any(axis=0)):
            self._take_out(which_A[newly_AP[:, parameter]], int(parameter))
        self.held_SP[which_A] = held_AP
        free_AP = np.where(held_AP, 0.0, self.gradient_SP[which_A])
        return np.where(held_AP, 0.0, -np.einsum("apq,aq->ap", self.inverse_SPP[which_A], free_AP))

    def _take_out(self, which_A: Indices, parameter: int) -> None:
        """The inverse of the Hessian among the other parameters: a Schur complement.

        What was known of this one alone stays.
        """
        inverse_APP = self.inverse_SPP[which_A]
        row_AP, own_A = (
            inverse_APP[:, parameter].copy(),
            inverse_APP[:, parameter, parameter].copy(),
        )
        share_AP = row_AP / np.where(own_A, own_A, 1.0)[:, None]
        inverse_APP -= row_AP[:, :, None] * share_AP[:, None, :]
        inverse_APP[:, parameter, :] = inverse_APP[:, :, parameter] = 0.0
        inverse_APP[:, parameter, parameter] = own_A
        self.inverse_SPP[which_A] = inverse_APP

    def _reach(self, theta_AP: Floats, step_AP: Floats) -> Floats:
        """How much of the step leads to the first bound that it meets."""
        with np.errstate(divide="ignore", invalid="ignore"):
            room_AP = (
                np.where(step_AP > 0, self.upper_P - theta_AP, self.lower_P - theta_AP) / step_AP
            )
        return np.where((step_AP == 0) | np.isnan(room_AP), np.inf, room_AP).min(axis=1)

    def _forget(self, which_A: Indices) -> None:
        self.inverse_SPP[which_A], self.fresh_S[which_A] = np.eye(self.theta_SP.shape[1]), True

    def _settled(self, which_A: Indices) -> NDArray[np.bool_]:
        met_A = self.value_S[which_A] <= self.problem.negligible
        return met_A | (self.slow_S[which_A] >= _PATIENCE) | ~(self.slope_S[which_A] < 0)

    def take(self, which_A: Indices, other: "Descent", chosen_A: NDArray[np.bool_]) -> None:
        """Put in place of these sets the chosen ones of another descent."""
        self.theta_SP[which_A], self.value_S[which_A] = (
            other.theta_SP[chosen_A],
            other.value_S[chosen_A],
        )
        self.gradient_SP[which_A] = other.gradient_SP[chosen_A]
        self.ended_S[which_A] = other.ended_S[chosen_A]

    def minima(self, starts_SP: Floats) -> Minima:
        """The result."""
        held_SP = self._held(np.arange(len(self.value_S)))
        norm_S = np.linalg.norm(np.where(held_SP, 0.0, self.gradient_SP), axis=1)
        moved_S = np.abs(self.theta_SP - starts_SP).max(axis=1) > 1e-9
        return Minima(self.theta_SP, self.value_S, norm_S, moved_S, self.ended_S)
