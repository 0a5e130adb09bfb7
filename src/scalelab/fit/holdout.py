"""Hold-out: fit on the smaller runs, predict the larger ones.

Rollouts: `largest_params` and `largest_flops` hold out the rows of the largest size or compute;
`expanding` fits on the sizes up to each one and predicts the next; anything else is a filter that
names the rows held out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalelab.core.errors import UserError, nearest
from scalelab.fit.censored import Floats
from scalelab.fit.compute import FLOPS
from scalelab.fit.law import Choices, Law
from scalelab.fit.matching import matching
from scalelab.fit.optimum import optimise
from scalelab.fit.problem import Problem
from scalelab.fit.sample import Sample

ROLLOUTS = ("largest_params", "largest_flops", "expanding")

SAME = 1.1
"""Sizes, or amounts of compute, within this factor are one level."""


@dataclass(frozen=True)
class Fold:
    """One fit on some rows, and its predictions of others (T)."""

    about: str
    rows: int
    """How many it was fitted to."""
    coefficients: Mapping[str, float]
    digests: tuple[str, ...]
    columns: Mapping[str, Floats]
    actual_T: Floats
    predicted_T: Floats

    @property
    def error_T(self) -> Floats:
        """Relative errors, (predicted - actual) / actual."""
        return (self.predicted_T - self.actual_T) / self.actual_T


@dataclass(frozen=True)
class Holdout:
    """Every fold of a rollout."""

    rollout: str
    folds: tuple[Fold, ...]

    @property
    def error(self) -> float:
        """The mean absolute relative error over every held-out row."""
        return float(np.abs(np.concatenate([fold.error_T for fold in self.folds])).mean())

    def to_json(self) -> dict[str, Any]:
        """Plain values; errors are parts of one."""
        return {
            "rollout": self.rollout,
            "mean_abs_relative_error": self.error,
            "folds": [
                {
                    "about": fold.about,
                    "fitted_rows": fold.rows,
                    "coefficients": dict(fold.coefficients),
                    "held_out": [
                        {
                            "digest": digest,
                            **{symbol: float(x_T[row]) for symbol, x_T in fold.columns.items()},
                            "actual": float(fold.actual_T[row]),
                            "predicted": float(fold.predicted_T[row]),
                            "relative_error": float(fold.error_T[row]),
                        }
                        for row, digest in enumerate(fold.digests)
                    ],
                }
                for fold in self.folds
            ],
        }


def hold_out(
    frame: pl.DataFrame, law: Law, choices: Choices, sample: Sample, rollout: str
) -> Holdout:
    """Run a rollout over the rows of a sample. `frame` is what it was taken from, for a filter.

    Raises UserError where nothing is held out, or too little is left to fit.
    """
    folds: list[Fold] = []
    for about, fitted_N, held_N in _masks(frame, law, sample, rollout):
        rows = int(fitted_N.sum())
        if rows < len(law.free):
            raise UserError(
                f"{rows} rows are left to fit the {len(law.free)} coefficients of `{law.name}` to",
                cure="hold out less, or fix or tie coefficients",
            )
        kept, held = sample.take(fitted_N), sample.take(held_N)
        problem = Problem.of(law, kept.columns, kept.y_N, kept.weight_N)
        fitted = optimise(problem, choices).coefficients
        predicted_T = problem.predict(fitted, held.columns)
        folds.append(Fold(about, rows, fitted, held.digests, held.columns, held.y_N, predicted_T))
    if not folds:
        raise UserError(f"the rollout `{rollout}` holds nothing out", cure=_cure())
    return Holdout(rollout, tuple(folds))


def _cure() -> str:
    return f"name one of {', '.join(ROLLOUTS)}, or a filter that some rows match and others do not"


def _masks(
    frame: pl.DataFrame, law: Law, sample: Sample, rollout: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(about, rows to fit, rows to predict), fold by fold."""
    if rollout not in ROLLOUTS and rollout.strip().isidentifier():
        raise UserError(f"there is no rollout `{rollout}`", cure=nearest(rollout, list(ROLLOUTS)))
    if rollout not in ROLLOUTS:
        held_N = _matching(frame, sample, rollout)
        if held_N.all() or not held_N.any():
            what = "every row" if held_N.all() else "no row"
            raise UserError(f"{what} matches the hold-out filter `{rollout}`", cure=_cure())
        yield "all others", ~held_N, held_N
        return
    size_N = _size(law, sample, "flops" if rollout == "largest_flops" else "params")
    level_N = _levels(size_N)
    last = int(level_N.max())
    if last == 0:
        raise UserError(
            f"there is one size, and `{rollout}` holds out the largest",
            cure="take rows of several sizes",
        )
    for level in range(1, last + 1) if rollout == "expanding" else [last]:
        fitted_N = level_N < level
        # Fewer rows or sizes than the law needs are no fold: the rollout begins where a fit is
        # possible.
        enough = np.unique(sample.cluster_N[fitted_N]).size > len(law.free) and level >= 2
        if rollout != "expanding" or enough:
            yield (
                (
                    f"below {size_N[level_N == level].min():.4g}"
                    f" {'FLOPs' if rollout == 'largest_flops' else 'parameters'}"
                ),
                fitted_N,
                level_N == level,
            )


def _matching(frame: pl.DataFrame, sample: Sample, text: str) -> np.ndarray:
    """[N] which rows of the sample a filter names."""
    named = set(frame.filter(pl.Series(matching(frame, text)))["digest"])
    return np.array([digest in named for digest in sample.digests])


def _size(law: Law, sample: Sample, which: str) -> Floats:
    """[N] parameters, or 6 N D, of every row."""
    params = next(
        (symbol for symbol, column in law.columns.items() if column.startswith("params.")), None
    )
    tokens = next(
        (symbol for symbol, column in law.columns.items() if column in ("budget.tokens", "tokens")),
        None,
    )
    flops = next(
        (symbol for symbol, column in law.columns.items() if column in ("budget.flops", "flops")),
        None,
    )
    if which == "flops" and flops is not None:
        return sample.columns[flops]
    if params is None or (which == "flops" and tokens is None):
        raise UserError(
            f"the law `{law.name}` has no column for the rollout to go by",
            cure="name the rows to hold out by a filter",
        )
    return sample.columns[params] * (
        FLOPS * sample.columns[str(tokens)] if which == "flops" else 1.0
    )


def _levels(size_N: Floats) -> np.ndarray:
    """[N] the number of each row's level, the smallest 0."""
    order = np.argsort(size_N, kind="stable")
    level_N, base, level = np.zeros(size_N.size, dtype=np.int64), size_N[order[0]], 0
    for row in order:
        if size_N[row] > SAME * base:
            base, level = size_N[row], level + 1
        level_N[row] = level
    return level_N
