"""Which shape of one parameter budget learns most: means over replicates, their intervals, and how
sure the best one is.

Shape letters: S shapes, B bootstrap draws.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod, sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import f as fisher
from scipy.stats import t as student

from scalelab.core.metrics import metric_of
from scalelab.fit.multiple import LEVEL, holm
from scalelab.fit.resample import Interval

DRAWS = 4000
"""Bootstrap draws behind the probability of being best."""

SAME_BUDGET = 0.1
"""Shapes whose sizes differ by a larger share of the smallest are not of one budget."""

SIZES = (
    "model.layers",
    "model.width",
    "model.heads",
    "model.kv_heads",
    "model.head_width",
    "model.ffn.ratio",
    "model.ffn.width",
)
"""What makes a shape, in the order in which it is told."""


@dataclass(frozen=True)
class Shape:
    """One shape: its place on the axes, every size of it, and what its replicates measured, in the
    order of `digests`.
    """

    place: tuple[float, ...]
    sizes: Mapping[str, float]
    params: int
    measured: tuple[float, ...]
    digests: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the replicates."""
        return fmean(self.measured)

    @property
    def std(self) -> float | None:
        """With n - 1; None for one replicate."""
        return stdev(self.measured) if len(self.measured) > 1 else None


@dataclass(frozen=True)
class Effects:
    """Where the variance of all measured values comes from, as shares that sum to one."""

    axes: Mapping[str, float]
    """Of each axis alone."""
    together: float
    """Of the axes' interplay."""
    replicates: float
    """Of what differs between replicates of one shape."""


@dataclass(frozen=True)
class Ranking:
    """Shapes of one budget, the best first.

    The noise of one replicate is taken to be the same for every shape.
    """

    metric: str
    """What was measured."""
    axes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    best: tuple[float, ...]
    """Probability of being the best, by the bootstrap over the replicates' deviations; one for each
    shape.
    """
    noise: float | None
    """Standard deviation of one replicate, pooled over the shapes; None without replicates."""
    freedom: int
    """Degrees of freedom of the noise."""

    def half(self, shape: Shape, level: float = 0.95) -> float | None:
        """Half the t interval of a shape's mean."""
        return self._times(sqrt(1 / len(shape.measured)), level)

    def interval(self, shape: Shape) -> Interval | None:
        """The 95 % t interval of a shape's mean."""
        half = self.half(shape)
        return None if half is None else (shape.mean - half, shape.mean + half)

    def rivals(self) -> list[Shape]:
        """Shapes that aren't told from the best one, which is the first of them."""
        return [
            shape
            for shape, p in zip(self.shapes, self.p_as_good, strict=True)
            if p is None or p > LEVEL
        ]

    @cached_property
    def p_as_good(self) -> tuple[float | None, ...]:
        """For each shape the p-value of its being no other than the best one, by two-sided t tests;
        None without replicates.

        Which is the best is read off the same data, so that any two shapes might have been
        compared: the p-values are corrected (Holm) for all pairs.
        """
        if self.noise is None:
            return (None,) * len(self.shapes)
        mean_S = np.array([shape.mean for shape in self.shapes])
        count_S = np.array([len(shape.measured) for shape in self.shapes])
        one_I, other_I = np.triu_indices(len(self.shapes), 1)  # the best against each comes first
        apart_I = np.abs(mean_S[one_I] - mean_S[other_I])
        error_I = self.noise * np.sqrt(1 / count_S[one_I] + 1 / count_S[other_I])
        with np.errstate(divide="ignore", invalid="ignore"):
            t_I = np.where(apart_I > 0, apart_I / error_I, 0.0)
        adjusted_I = holm(2 * student.sf(t_I, self.freedom))
        return (1.0, *adjusted_I[: len(self.shapes) - 1].tolist())

    def _times(self, scale: float, level: float) -> float | None:
        return (
            None
            if self.noise is None
            else float(student.ppf(0.5 + level / 2, self.freedom)) * self.noise * scale
        )

    @property
    def p_equal(self) -> float | None:
        """Probability of an F at least this large if shape made no difference (one-way analysis of
        variance).
        """
        if not self.noise:
            return None
        values = [value for shape in self.shapes for value in shape.measured]
        between = sum(
            len(shape.measured) * (shape.mean - fmean(values)) ** 2 for shape in self.shapes
        )
        ratio = between / (len(self.shapes) - 1) / self.noise**2
        return float(fisher.sf(ratio, len(self.shapes) - 1, self.freedom))

    def effects(self) -> Effects | None:
        """Shares of the variance; None where the shapes are no full grid with equally many
        replicates, two at least.
        """
        levels = [
            sorted({shape.place[index] for shape in self.shapes}) for index in range(len(self.axes))
        ]
        counts = {len(shape.measured) for shape in self.shapes}
        if prod(map(len, levels)) != len(self.shapes) or len(counts) > 1 or self.noise is None:
            return None
        means = {shape.place: shape.mean for shape in self.shapes}
        grid = np.array([means[place] for place in product(*levels)]).reshape(
            [len(level) for level in levels]
        )
        within = np.mean([np.var(shape.measured) for shape in self.shapes])
        whole = grid.var() + within
        if not whole > 0:
            return None
        every = tuple(range(grid.ndim))
        alone = {
            axis: float(grid.mean(axis=(*every[:index], *every[index + 1 :])).var() / whole)
            for index, axis in enumerate(self.axes)
        }
        return Effects(
            alone, float(grid.var() / whole) - sum(alone.values()), float(within / whole)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, the best shape first."""
        effects = self.effects()
        shapes = []
        for shape, best, p in zip(self.shapes, self.best, self.p_as_good, strict=True):
            interval = self.interval(shape)
            shapes.append(
                {
                    **shape.sizes,
                    "params": shape.params,
                    "mean": shape.mean,
                    "std": shape.std,
                    "interval": list(interval) if interval else None,
                    "replicates": len(shape.measured),
                    "best": best,
                    "p_as_good_holm": p,
                    "digests": list(shape.digests),
                }
            )
        return {
            "metric": metric_of(self.metric),
            "axes": list(self.axes),
            "noise": self.noise,
            "p_equal": self.p_equal,
            "variance": None
            if effects is None
            else {**effects.axes, "together": effects.together, "replicates": effects.replicates},
            "shapes": shapes,
        }


def shape_axes(trials: pl.DataFrame, declared: Collection[str] = ()) -> list[str]:
    """The sizes that vary freely among the shapes: those of them that are declared as axes; without
    such, those that follow from no other.

    Of two sizes that follow from each other, what was solved for the budget has the most values, so
    that it goes first.
    """
    varied = [
        size
        for size in SIZES
        if size in trials.columns and trials[size].drop_nulls().n_unique() > 1
    ]
    if any(size in declared for size in varied):
        return [size for size in varied if size in declared]
    solved = sorted(
        {"model.width", "model.ffn.width"} & set(varied),
        key=lambda size: (-trials[size].n_unique(), size),
    )
    for size in ("model.kv_heads", "model.head_width", *solved):
        others = [other for other in varied if other != size]
        if (
            size in varied
            and others
            and trials.group_by(others).agg(pl.col(size).n_unique())[size].max() == 1
        ):
            varied = others
    return varied


def is_one_budget(trials: pl.DataFrame) -> bool:
    """Whether the trials' sizes are close enough to compare their shapes."""
    sizes = trials["params.total"].drop_nulls()
    return len(sizes) > 0 and float(str(sizes.max())) <= (1 + SAME_BUDGET) * float(str(sizes.min()))


def rank(
    trials: pl.DataFrame,
    metric: str,
    axes: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    *,
    less: bool = False,
) -> Ranking:
    """Rank the shapes of finished trials by the mean of a column, higher first (lower, where `less`
    is better); every trial counts once.
    """
    known = (
        trials.filter(pl.col("state").is_in(["done", "stopped"]), pl.col(metric).is_finite())
        .unique("digest")
        .sort(*axes, "digest")
    )
    shapes = [_shape(rows, metric, axes) for _, rows in known.group_by(axes, maintain_order=True)]
    shapes.sort(key=lambda shape: (shape.mean if less else -shape.mean, shape.place))
    spare = sum(len(shape.measured) - 1 for shape in shapes)
    square = sum(float(np.var(shape.measured)) * len(shape.measured) for shape in shapes)
    noise = sqrt(square / spare) if spare else None
    return Ranking(
        metric, tuple(axes), tuple(shapes), _chances(shapes, draws, seed, less), noise, spare
    )


def _shape(rows: pl.DataFrame, metric: str, axes: Sequence[str]) -> Shape:
    first, lists = rows.row(0, named=True), rows.to_dict(as_series=False)
    # A resolved trial has the hidden width; its ratio says something only where it was an axis.
    told = [size for size in SIZES if size in axes or size != "model.ffn.ratio"]
    sizes = {size: first[size] for size in told if first.get(size) is not None}
    place = tuple(first[axis] for axis in axes)
    return Shape(
        place, sizes, int(first["params.total"]), tuple(lists[metric]), tuple(lists["digest"])
    )


def _chances(shapes: Sequence[Shape], draws: int, seed: int, less: bool) -> tuple[float, ...]:
    """How often each shape has the best mean when its replicates' deviations are drawn anew, from
    those of all shapes.

    A deviation from the mean of n replicates is too small by sqrt((n - 1) / n), and is made larger.
    Ties are shared.
    """
    spread = [
        (np.array(shape.measured) - shape.mean) * sqrt(count / (count - 1))
        for shape in shapes
        if (count := len(shape.measured)) > 1
    ]
    pool_N, rng, mean_SB = (
        np.concatenate([*spread, [0.0] if not spread else []]),
        np.random.default_rng(seed),
        [],
    )
    for shape in shapes:
        mean_SB.append(
            shape.mean + rng.choice(pool_N, size=(draws, len(shape.measured))).mean(axis=1)
        )
    best_B = np.min(mean_SB, axis=0) if less else np.max(mean_SB, axis=0)
    wins_SB = np.isclose(mean_SB, best_B, rtol=1e-12, atol=0)
    return tuple(float(share) for share in (wins_SB / wins_SB.sum(axis=0)).mean(axis=1))
