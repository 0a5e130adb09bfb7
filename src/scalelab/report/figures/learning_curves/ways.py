"""How so many series are drawn: told apart; as lines whose colour is one axis; or as classes of
that axis, with bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalelab.report.charts.colours import Palette
from scalelab.report.figure import Rows
from scalelab.report.figures.learning_curves.charts import Colouring
from scalelab.report.recall import SERIES
from scalelab.report.runs import cell, names_of, told_apart, word_order

APART, LINES, CLASSES = 12, 240, 8
"""Series that are told apart by colour and dash; lines that are drawn at all; classes that more of
them are put into.
"""
MIDDLE = 0.8
"""Share of the runs of a class that its band holds."""
_EVERY = "all runs"


@dataclass(frozen=True)
class Way:
    """Which series there are, and by what they are told apart."""

    members: pl.DataFrame
    """`digest`, `state`, `seed`, the axes, and `label`, which is the series; in the order of the
    series.
    """
    axes: Sequence[str]
    """What all trials of a series agree in."""
    colouring: Colouring
    middle: float = 1.0
    """Share of the trials of a series that its band holds."""
    text: str = ""
    """What had to be done, where series are not simply told apart."""

    @property
    def count(self) -> int:
        """Number of series."""
        return self.members["label"].n_unique()

    @classmethod
    def of(cls, rows: Rows, axes: Sequence[str]) -> "Way":
        """The way for as many series as these axes make of the trials."""
        members = _labelled(rows, axes)
        count = members["label"].n_unique()
        if count <= APART:
            return cls(members, axes, Colouring(_palette(members, rows.unfiltered)))
        colour = max(
            axes, key=lambda axis: (members[axis].dtype.is_numeric(), members[axis].n_unique())
        )
        if count <= LINES:
            text = f"{count:,} series are too many to tell apart: the colour is {colour}."
            return cls(members, axes, _by_axis(members[colour], rows, colour), text=text)
        classed = _classed(members, colour)
        text = (
            f"{count:,} series are too many for lines of their own: runs are put into classes of"
            f" {colour}, whatever the other axes."
        )
        labels = classed["label"].unique(maintain_order=True).to_list()
        return cls(classed, [], Colouring(Palette(labels, labels)), MIDDLE, text)


def _labelled(rows: Rows, axes: Sequence[str]) -> pl.DataFrame:
    """The trials in the order of their series."""
    words = [axis for axis in axes if rows.trials[axis].dtype == pl.String]
    trials = rows.trials.with_columns(
        pl.col(axis).cast(pl.Enum(list(word_order(rows, axis)))) for axis in words
    )
    members = trials.sort([*axes, "seed", "digest"], nulls_last=True).select(
        "digest", "state", "seed", *axes
    )
    names = names_of(axes)
    labels = [
        ", ".join(_said(names[axis], row[axis]) for axis in axes) or _EVERY
        for row in members.iter_rows(named=True)
    ]
    return members.with_columns(pl.Series("label", labels, dtype=pl.String))


def _said(name: str, value: Any) -> str:
    text = cell(value) or "none"
    return text if name in ("experiment", "arm") else f"{name} {text}"


def _palette(members: pl.DataFrame, rows: Rows) -> Palette:
    """The colours of the series among all of the experiments; where these are the recall modes,
    the colours of the modes.
    """
    every = _labelled(rows, told_apart(rows.trials, rows.specs))
    modes = _modes(rows.trials, every)
    return Palette.placed(_digests(members), modes or _digests(every))


def _digests(members: pl.DataFrame) -> dict[str, list[str]]:
    """Series -> digests, in the order of the series."""
    grouped = members.group_by("label", maintain_order=True).agg("digest")
    return dict(grouped.select("label", "digest").iter_rows())


def _modes(trials: pl.DataFrame, members: pl.DataFrame) -> dict[str, list[str]]:
    """Mode -> digests, where every series is all of one recall mode; else empty."""
    if "task.recall" not in trials.columns:
        return {}
    told = trials.unique("digest").select("digest", mode="task.recall")
    pairs = members.join(told, on="digest").select("label", "mode").unique()
    if pairs["mode"].has_nulls() or pairs["mode"].n_unique() < len(pairs):
        return {}
    return {mode: told.filter(pl.col("mode") == mode)["digest"].to_list() for mode in SERIES}


def _by_axis(values: pl.Series, rows: Rows, axis: str) -> Colouring:
    every = rows.unfiltered.trials[axis].drop_nulls()
    shown = [cell(value) for value in values.drop_nulls().unique(maintain_order=True)]
    if values.dtype.is_numeric():
        found = every.to_numpy()
        return Colouring(Palette(shown, shown), axis, (float(found.min()), float(found.max())))
    return Colouring(Palette.of(shown, list(word_order(rows, axis))), axis)


def _classed(members: pl.DataFrame, axis: str) -> pl.DataFrame:
    """Members labelled by the values of an axis, or where these are many numbers, by even shares of
    them.
    """
    name, values = names_of([axis])[axis], members[axis]
    ordered = members.sort(axis, "seed", "digest", nulls_last=True)
    if values.n_unique() <= APART:
        return ordered.with_columns(
            pl.Series("label", [_said(name, value) for value in ordered[axis]])
        )
    if not values.dtype.is_numeric():
        return ordered.with_columns(label=pl.lit(_EVERY))
    known = ordered.filter(pl.col(axis).is_not_null())
    _, rank = np.unique(known[axis].to_numpy(), return_inverse=True)
    parts = known.with_columns(part=pl.Series(rank * CLASSES // (rank.max() + 1)))
    spans = parts.group_by("part").agg(low=pl.col(axis).min(), high=pl.col(axis).max())
    told = {part: f"{name} {low:.3g} to {high:.3g}" for part, low, high in spans.iter_rows()}
    return parts.with_columns(pl.Series("label", [told[part] for part in parts["part"]])).drop(
        "part"
    )
