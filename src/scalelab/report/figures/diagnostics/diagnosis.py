"""What fig. 6 works out about a fit: refits without each configuration and without the highest
runs, and a hold-out.

Shape letters: N runs, G configurations, K drops.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scalelab.core.errors import UserError
from scalelab.fit.censored import Floats
from scalelab.fit.holdout import Holdout, hold_out
from scalelab.fit.influence import each_configuration, highest, without
from scalelab.report.figure import Rows
from scalelab.report.fits.data import Fitted, of

SHARE = 0.15
"""Where a fit has no hold-out of its own, this part of the runs is held out: those of most compute,
or of the largest size.
"""
MOST = 1000
"""Configurations that are left out one by one."""
DROPPED = 20
"""Highest runs that are left out, at most, and at most a tenth of all."""
_COLOURS = 6
_STARTS = 100
"""Starts of a hold-out's fit."""


@dataclass(frozen=True)
class Diagnosis:
    """A fit and its checks.

    `moves` and `drops` hold coefficient -> values; empty where there are no standard errors to
    compare with.
    """

    fitted: Fitted
    moves: Mapping[str, Floats]
    """[G] without one configuration after the other."""
    drops: Mapping[str, Floats]
    """[K + 1] without the runs of the highest target, none of them first."""
    holdout: Holdout | None
    holdout_about: str

    @classmethod
    def of(cls, rows: Rows, fitted: Fitted) -> "Diagnosis":
        """Refit without each, and hold out the largest."""
        fit = fitted.fit
        sample = fit.sample
        can_move = bool(shown(fitted)) and sample.configurations > len(fit.law.free) + 1
        left_out = each_configuration(sample.cluster_N)[:MOST]
        most = max(
            1, min(DROPPED, sample.y_N.size // 10, sample.configurations - len(fit.law.free) - 1)
        )
        moves = without(fit.problem, fit.optimum, left_out) if can_move else {}
        drops = without(fit.problem, fit.optimum, highest(sample.y_N, most)) if can_move else {}
        held, about = (
            (fit.holdout, fit.holdout.rollout)
            if fit.holdout is not None
            else _hold_out(rows, fitted)
        )
        return cls(fitted, moves, drops, held, about)

    @property
    def shown(self) -> list[str]:
        """Coefficients that are drawn in colours."""
        return shown(self.fitted)

    def moved(self, values: Mapping[str, Floats], name: str) -> Floats:
        """Values in standard errors from the fit's."""
        fit = self.fitted.fit
        return (values[name] - fit.coefficients[name]) / (fit.estimates[name].se or np.nan)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        fit = self.fitted.fit
        influence = {name: values.tolist() for name, values in self.moves.items()}
        drops = {name: values.tolist() for name, values in self.drops.items()}
        held = None if self.holdout is None else self.holdout.to_json()
        plain = {
            "experiment": self.fitted.experiment,
            "fit": fit.to_json(),
            "starts": fit.optimum.objectives_S.tolist(),
        }
        return {
            **plain,
            "without_configuration": influence,
            "without_highest": drops,
            "holdout": held,
        }


def shown(fitted: Fitted) -> list[str]:
    """Free coefficients with a standard error, as many as there are colours."""
    fit = fitted.fit
    return [name for name in fit.law.free if fit.estimates[name].se][:_COLOURS]


def _hold_out(rows: Rows, fitted: Fitted) -> tuple[Holdout | None, str]:
    """The runs of most compute, predicted from the others; None where the law has nothing to go by,
    or too little is left.
    """
    fit = fitted.fit
    by = next((place for place in ("flops", "params") if place in fitted.places), None)
    if by is None:
        return None, ""
    size_N = fitted.places[by]
    limit = float(np.quantile(size_N, 1 - SHARE)) * (1 - 1e-6)
    held_N = size_N >= limit
    name = (
        "flops"
        if by == "flops"
        else next(column for column in fit.law.columns.values() if column.startswith("params."))
    )
    kept = set(fit.sample.cluster_N[~held_N].tolist())
    if not held_N.any() or len(kept) <= len(fit.law.free):
        return None, ""
    choices = replace(fit.choices, starts=_STARTS)
    try:
        held = hold_out(
            of(rows, fitted.experiment), fit.law, choices, fit.sample, f"{name} >= {limit!r}"
        )
    except UserError:
        return None, ""
    return (
        held,
        (
            f"the {int(held_N.sum())} runs of"
            f" {'most compute' if by == 'flops' else 'the largest sizes'}"
        ),
    )
