"""The speeds of trials: which were measured, and which of them a figure draws."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from scalelab.core.errors import UserError, nearest
from scalelab.core.events import is_speed

TRAINING, CACHE = "metrics.tokens_per_second", "metrics.cache_bytes_per_token"
KINDS = {"decode": "decoding", "uncached": "decoding without a cache", "prefill": "prefill"}
"""What is timed, by the first word of its metric."""

_TIMED = re.compile(r"metrics\.(decode|uncached|prefill)_tokens_per_second_b(\d+)_t(\d+)")


@dataclass(frozen=True, order=True)
class Place:
    """Where decoding is timed: positions that lie in the cache, and sequences at once."""

    context: int
    lanes: int

    def column(self, kind: str) -> str:
        """The column of a speed here."""
        return f"metrics.{kind}_tokens_per_second_b{self.lanes}_t{self.context}"

    @property
    def said(self) -> str:
        """`1 lane, context 1,024`."""
        return f"{self.lanes:,} lane{'s' if self.lanes > 1 else ''}, context {self.context:,}"


def places(trials: pl.DataFrame) -> list[Place]:
    """Where some trial's decoding was timed, in order."""
    found = [
        _TIMED.fullmatch(column) for column in trials.columns if trials[column].drop_nulls().len()
    ]
    return sorted({Place(int(one[3]), int(one[2])) for one in found if one})


def usual(found: Sequence[Place]) -> Place | None:
    """The longest context at the fewest lanes."""
    return max(found, key=lambda place: (-place.lanes, place.context), default=None)


def speed_column(trials: pl.DataFrame, asked: str) -> str:
    """The column of a speed by its short name (`decode`, `uncached`, `prefill`, `training`) or its
    metric's.

    Raises UserError for one that no trial has.
    """
    place, name = usual(places(trials)), asked.removeprefix("metrics.")
    known = {
        column.removeprefix("metrics."): column
        for column in trials.columns
        if column.startswith("metrics.") and is_speed(column[8:])
    }
    short = {kind: place.column(kind) for kind in KINDS} if place else {}
    short |= {"training": TRAINING}
    column = short.get(name, known.get(name, ""))
    if column not in trials.columns:
        listed = [kind for kind, of in short.items() if of in trials.columns]
        raise UserError(f"no trial has a speed `{asked}`", cure=nearest(name, [*listed, *known]))
    return column


def speed_title(column: str) -> str:
    """What a speed is called on an axis."""
    found = _TIMED.fullmatch(column)
    if found:
        return f"tokens/s, {KINDS[found[1]]} ({Place(int(found[3]), int(found[2])).said})"
    return (
        "tokens/s, training"
        if column == TRAINING
        else column.removeprefix("metrics.").replace("_", " ")
    )
