"""Many small minimisations at once, with vanished terms lit again.

A positive coefficient is a logarithm here, so a term can shrink to nothing, where its slope is zero
too: no optimum, but a place that a descent cannot leave. Such a term is set to a visible size, and
the descent goes on from there.

Shape letters: S sets, P parameters, N rows, A sets that are meant.
"""

import numpy as np

from scalelab.fit.descent import SETTLED, Descent, Minima, Tell, rows
from scalelab.fit.formula import Floats
from scalelab.fit.problem import Problem

_VANISHED, _VISIBLE, _ANEW = -7.0, -2.0, 0.4
"""Logarithm of a term, relative to the target, under which it has vanished; where it is put; and
the exponent it is given then.
"""


def minimise(
    problem: Problem,
    starts_SP: Floats,
    weight_SN: Floats | None = None,
    target_SN: Floats | None = None,
    tell: Tell | None = None,
    hold: int | None = None,
    light: bool = True,
    inverse_PP: Floats | None = None,
) -> Minima:
    """The minimum that every start leads to; rows may weigh differently, or have other targets, in
    every set.

    `hold` is a parameter that stays where each start has it. Without `light` a term that has
    vanished stays so, which is many times faster where it is meant to.
    `inverse_PP` is an inverse Hessian to begin with, for starts near a known minimum
    (`Problem.inverse_hessian`).
    """
    descent = Descent(problem, starts_SP, weight_SN, target_SN, tell, hold, inverse_PP)
    descent.run()
    for _ in range(sum(axis.term for axis in problem.axes) if light else 0):
        if not _light_again(descent):
            break
    return descent.minima(starts_SP)


def _light_again(done: Descent) -> bool:
    """Go on from where terms have vanished with these made visible; what ends lower is kept.

    Whether anything did.
    """
    problem, better = done.problem, False
    terms = [index for index, axis in enumerate(problem.axes) if axis.term and index != done.hold]
    for term in terms:
        gone_A = np.flatnonzero((done.theta_SP[:, term] < _VANISHED) & np.isfinite(done.value_S))
        if not len(gone_A):
            continue
        start_AP = done.theta_SP[gone_A].copy()
        start_AP[:, term] = _VISIBLE
        for exponent in problem.exponents_of(term):
            if exponent != done.hold:
                start_AP[:, exponent] = np.clip(_ANEW, *problem.axes[exponent].start)
        again = Descent(
            problem,
            start_AP,
            rows(done.weight_SN, gone_A),
            rows(done.target_SN, gone_A),
            None,
            done.hold,
        )
        again.run()
        lower_A = again.value_S < done.value_S[gone_A] * (1 - SETTLED)
        done.take(gone_A[lower_A], again, lower_A)
        better |= bool(lower_A.any())
    return better
