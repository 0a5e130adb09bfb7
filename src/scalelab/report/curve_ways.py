"""How so many series are drawn: told apart; as lines whose colour is one axis; or as classes of
that axis, with bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalelab.report.curve_chart import Colouring
from scalelab.report.runs import cell, names_of

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
    def of(cls, trials: pl.DataFrame, axes: Sequence[str]) -> "Way":
        """The way for as many series as these axes make of the trials."""
        members = _labelled(
            trials.sort([*axes, "seed", "digest"], nulls_last=True).select(
                "digest", "state", "seed", *axes
            ),
            axes,
        )
        count = members["label"].n_unique()
        if count <= APART:
            return cls(members, axes, _told_apart(members))
        colour = max(
            axes, key=lambda axis: (members[axis].dtype.is_numeric(), members[axis].n_unique())
        )
        if count <= LINES:
            text = f"{count:,} series are too many to tell apart: the colour is {colour}."
            return cls(members, axes, _by_axis(members[colour], colour), text=text)
        classed = _classed(members, colour)
        text = (
            f"{count:,} series are too many for lines of their own: runs are put into classes of"
            f" {colour}, whatever the other axes."
        )
        return cls(classed, [], _told_apart(classed), MIDDLE, text)


def _labelled(members: pl.DataFrame, axes: Sequence[str]) -> pl.DataFrame:
    names = names_of(axes)
    labels = [
        ", ".join(_said(names[axis], row[axis]) for axis in axes) or _EVERY
        for row in members.iter_rows(named=True)
    ]
    return members.with_columns(pl.Series("label", labels, dtype=pl.String))


def _said(name: str, value: Any) -> str:
    text = cell(value) or "none"
    return text if name in ("experiment", "arm") else f"{name} {text}"


def _told_apart(members: pl.DataFrame) -> Colouring:
    return Colouring(members["label"].unique(maintain_order=True).to_list())


def _by_axis(values: pl.Series, axis: str) -> Colouring:
    if values.dtype.is_numeric():
        found = values.drop_nulls().to_numpy()
        return Colouring((), axis, (float(found.min()), float(found.max())))
    return Colouring(
        [cell(value) for value in values.drop_nulls().unique(maintain_order=True)], axis
    )


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
