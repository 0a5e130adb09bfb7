"""How much a model comes to know: learned bits against parameters, and against the bits that its
data hold.

A point is one size of model on one number of people and of exposures, its replicates together. The
law of one number of exposures has a line, what a model of a size could hold (Allen-Zhu and Li,
arXiv 2404.05405, find 2 bits a parameter after 1,000 exposures), and bends from what the data hold
to that line:

    bits = data / (1 + (data / limit)^m)^(1/m),    limit = per_param * (params - overhead)

It is fitted by least squares of the logarithm of the bits, so that small models count as much as
large ones.

Shape letters: N replicates' values, P points, B reweightings (the estimate, then bootstrap draws),
S starts, C coefficients (the logarithm of per_param, of 1 - overhead / the smallest size, and of
m), X places on an axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import column_of
from scalelab.fit.censored import Floats
from scalelab.fit.resample import Interval, cell_weights, draw_weights, intervals
from scalelab.fit.scatter import Scatter

DRAWS = 1000
"""Bootstrap draws behind every interval."""

FULL = 0.95
"""A model that has learned this share of the bits in its data is limited by the data: its own limit
lies higher.
"""

METRICS = ("bits", "bits_max")
_EXACT = 1e-9


@dataclass(frozen=True)
class Point:
    """One size on one number of people and exposures; `bits` and `recall` by replicate, in the
    order of `digests`.
    """

    people: int
    exposures: float
    params: float
    bits_max: float
    """Bits that the data hold."""
    bits: tuple[float, ...]
    recall: tuple[float, ...]
    digests: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Learned bits, over the replicates."""
        return fmean(self.bits)

    @property
    def std(self) -> float | None:
        """Their standard deviation, with n - 1; None for one replicate."""
        return stdev(self.bits) if len(self.bits) > 1 else None

    @property
    def per_param(self) -> float:
        """Learned bits per parameter."""
        return self.mean / self.params

    @property
    def demanded(self) -> float:
        """Bits in the data per parameter."""
        return self.bits_max / self.params

    @property
    def is_full(self) -> bool:
        """Whether the data, not the model, set the limit."""
        return self.mean >= FULL * self.bits_max


def points(trials: pl.DataFrame, size: str = "params.used") -> list[Point]:
    """Points of a frame of trials, by exposures, people and size; trials that are neither done nor
    stopped are left out.

    `exposures` are those of the whole budget, at three significant digits. Raises UserError where a
    column is missing.
    """
    for column in (
        "digest",
        "state",
        "task.people",
        "exposures",
        size,
        *(column_of(name) for name in METRICS),
    ):
        if column not in trials.columns:
            raise UserError(
                f"the table has no column `{column}`", cure=nearest(column, trials.columns)
            )
    recall = (
        pl.col("metrics.recall") if "metrics.recall" in trials.columns else pl.lit(None, pl.Float64)
    )
    known = trials.filter(
        pl.col("state").is_in(["done", "stopped"]),
        *(pl.col(column_of(name)).is_finite() for name in METRICS),
    )
    columns = {
        "exposures": pl.col("exposures").round_sig_figs(3),
        "people": pl.col("task.people"),
        "params": pl.col(size).cast(pl.Float64),
        "bits": pl.col("metrics.bits"),
        "bits_max": pl.col("metrics.bits_max"),
        "recall": recall.fill_null(float("nan")),
        "digest": pl.col("digest"),
    }
    keys = ["exposures", "people", "params"]
    rows = (
        known.select(**columns)
        .drop_nulls([*keys, "bits", "bits_max"])
        .unique("digest")
        .sort(*keys, "digest")
    )
    return [_point(group) for _, group in rows.group_by(keys, maintain_order=True)]


def _point(rows: pl.DataFrame) -> Point:
    first, lists = rows.row(0, named=True), rows.to_dict(as_series=False)
    fixed = (
        int(first["people"]),
        float(first["exposures"]),
        float(first["params"]),
        float(first["bits_max"]),
    )
    return Point(*fixed, tuple(lists["bits"]), tuple(lists["recall"]), tuple(lists["digest"]))


def above_limit(found: Sequence[Point]) -> list[Point]:
    """Points with a replicate that learned more bits than its data hold, which nothing can: a sign
    of an error in counting.
    """
    return [point for point in found if max(point.bits) > point.bits_max * (1 + _EXACT)]


@dataclass(frozen=True)
class Capacity:
    """The law of one number of exposures; intervals are 95 %, None where nothing tells."""

    values_BC: Floats = field(repr=False)
    """The estimate, then the draws."""
    weight_BN: Floats = field(repr=False)
    """Of the draws."""
    replicates: tuple[int, ...]
    smallest: float
    scatter: Scatter | None = field(repr=False)
    """Of the points about the law, for where replicates tell nothing."""

    @property
    def per_param(self) -> float:
        """Bits that one parameter more holds."""
        return float(np.exp(self.values_BC[0, 0]))

    @property
    def per_param_interval(self) -> Interval | None:
        """Of the bits per parameter."""
        along_C = np.array([1.0, 0.0, 0.0])
        (found,) = intervals(
            self.values_BC[0, :1], self.values_BC[1:, :1], self.weight_BN, self.replicates
        )
        found = found or (
            self.scatter.interval(float(self.values_BC[0, 0]), along_C) if self.scatter else None
        )
        return (float(np.exp(found[0])), float(np.exp(found[1]))) if found else None

    @property
    def overhead(self) -> float:
        """Parameters that hold nothing; negative where the line meets the axis above zero bits."""
        return float(self.smallest * (1 - np.exp(self.values_BC[0, 1])))

    @property
    def sharpness(self) -> float:
        """m: small ones bend slowly, large ones have a corner."""
        return float(np.exp(self.values_BC[0, 2]))

    def limit(self, params_X: Floats) -> Floats:
        """Bits that models of these sizes could hold."""
        return np.exp(_log_limit(self.values_BC[:1], params_X, self.smallest)[0])

    def band(self, params_X: Floats) -> list[Interval | None]:
        """The interval of that limit at each size."""
        log_BX = _log_limit(self.values_BC, params_X, self.smallest)
        found = intervals(log_BX[0], log_BX[1:], self.weight_BN, self.replicates)
        return [(float(np.exp(one[0])), float(np.exp(one[1]))) if one else None for one in found]

    def predict(self, params_X: Floats, data_X: Floats) -> Floats:
        """Bits that models of these sizes learn from data that hold so many."""
        return np.exp(_predicted(self.values_BC[:1], params_X, np.log(data_X), self.smallest)[0][0])

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        interval = self.per_param_interval
        return {
            "per_param": self.per_param,
            "per_param_interval": list(interval) if interval else None,
            "overhead": self.overhead,
            "sharpness": self.sharpness,
            "points": len(self.replicates),
        }


def _log_limit(value_BC: Floats, params_N: Floats, smallest: float) -> Floats:
    holding_BN = params_N - smallest + smallest * np.exp(value_BC[:, 1:2])
    return value_BC[:, :1] + np.log(holding_BN)


def _predicted(
    value_BC: Floats, params_N: Floats, log_data_N: Floats, smallest: float
) -> tuple[Floats, Floats]:
    """The logarithm of the bits [B, N], and its derivatives by the coefficients [B, N, C]."""
    m_B1 = np.exp(value_BC[:, 2:])
    excess_BN = log_data_N - _log_limit(value_BC, params_N, smallest)
    soft_BN = np.logaddexp(0.0, m_B1 * excess_BN) / m_B1
    share_BN = expit(m_B1 * excess_BN)
    moved_BN = smallest * np.exp(value_BC[:, 1:2])
    moved_BN = moved_BN / (params_N - smallest + moved_BN)
    slope_BNC = np.stack([share_BN, share_BN * moved_BN, soft_BN - share_BN * excess_BN], axis=2)
    return log_data_N - soft_BN, slope_BNC


_STARTS = tuple((overhead, m) for overhead in (-1.0, 0.0, 0.5, 0.8) for m in (1.0, 3.0, 10.0))
"""Overhead as a share of the smallest size, and m, of the starts."""
_BOUNDS_C2 = np.array([(-20.0, 20.0), (-6.0, 4.0), (np.log(0.5), np.log(50.0))])
_ROUNDS = 60


def capacity(found: Sequence[Point], draws: int = DRAWS, seed: int = 0) -> Capacity:
    """The law through the points of one number of exposures.

    Raises UserError below three sizes that have not learned all there is, and below four points.
    """
    known = [point for point in found if min(point.bits) > 0]
    limited = {point.params for point in known if not point.is_full}
    if len(limited) < 3 or len(known) < 4:
        raise UserError(
            "a capacity needs three sizes that have not learned all there is",
            cure="run smaller models, or more people",
        )
    replicates = tuple(len(point.bits) for point in known)
    params_N, data_N = (
        np.repeat([getattr(point, name) for point in known], replicates)
        for name in ("params", "bits_max")
    )
    log_bits_N = np.log([bits for point in known for bits in point.bits])
    smallest, drawn_BN = float(params_N.min()), draw_weights(replicates, draws, seed)

    def fit(start_BC: Floats, weight_BN: Floats) -> tuple[Floats, Floats]:
        return _least_squares(start_BC, weight_BN, params_N, np.log(data_N), log_bits_N, smallest)

    rate = float(np.max(np.exp(log_bits_N) / params_N))
    start_SC = np.array([(np.log(rate), np.log1p(-overhead), np.log(m)) for overhead, m in _STARTS])
    every_SC, loss_S = fit(start_SC, np.repeat(cell_weights(replicates), len(start_SC), axis=0))
    best_1C = every_SC[[loss_S.argmin()]]
    values_BC = np.concatenate([best_1C, fit(np.repeat(best_1C, draws, axis=0), drawn_BN)[0]])
    params_P, data_P = (
        np.array([getattr(point, name) for point in known]) for name in ("params", "bits_max")
    )
    (said_P,), (slope_PC,) = _predicted(best_1C, params_P, np.log(data_P), smallest)
    scatter = Scatter.of(slope_PC, np.log([point.mean for point in known]), said_P)
    return Capacity(values_BC, drawn_BN, replicates, smallest, scatter)


def _least_squares(
    value_BC: Floats,
    weight_BN: Floats,
    params_N: Floats,
    log_data_N: Floats,
    log_bits_N: Floats,
    smallest: float,
) -> tuple[Floats, Floats]:
    """Levenberg and Marquardt's method within bounds, for every row of weights at once:
    coefficients and losses.
    """
    damping_B = np.full(len(value_BC), 1e-2)
    said_BN, slope_BNC = _predicted(value_BC, params_N, log_data_N, smallest)
    loss_B = (weight_BN * (log_bits_N - said_BN) ** 2).sum(axis=1)
    for _ in range(_ROUNDS):
        pull_BC = np.einsum("bn,bnc->bc", weight_BN * (log_bits_N - said_BN), slope_BNC)
        gram_BCC = np.einsum("bn,bnc,bnd->bcd", weight_BN, slope_BNC, slope_BNC)
        scale_B = np.trace(gram_BCC, axis1=1, axis2=2) + 1e-12
        damped_BCC = gram_BCC + (damping_B * scale_B)[:, None, None] * np.eye(3)
        tried_BC = np.clip(
            value_BC + np.linalg.solve(damped_BCC, pull_BC[:, :, None])[:, :, 0], *_BOUNDS_C2.T
        )
        tried_BN, tried_BNC = _predicted(tried_BC, params_N, log_data_N, smallest)
        tried_B = (weight_BN * (log_bits_N - tried_BN) ** 2).sum(axis=1)
        better_B = tried_B < loss_B
        value_BC, loss_B = (
            np.where(better_B[:, None], tried_BC, value_BC),
            np.where(better_B, tried_B, loss_B),
        )
        said_BN, slope_BNC = (
            np.where(better_B[:, None], tried_BN, said_BN),
            np.where(better_B[:, None, None], tried_BNC, slope_BNC),
        )
        damping_B = np.clip(np.where(better_B, damping_B / 5, damping_B * 4), 1e-12, 1e6)
    return value_BC, loss_B
