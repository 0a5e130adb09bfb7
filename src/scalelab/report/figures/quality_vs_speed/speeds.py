"""The speeds of trials: which were measured, and which of them a figure draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import column_of, indices_of, is_speed, metric_of, metrics_in

TRAINING, CACHE = "metrics.tokens_per_second", "metrics.cache_bytes_per_token"
KINDS = {"decode": "decoding", "uncached": "decoding without a cache", "prefill": "prefill"}
"""What is timed, by the first word of its metric."""


@dataclass(frozen=True, order=True)
class Place:
    """Where decoding is timed: positions that lie in the cache, and sequences at once."""

    context: int
    lanes: int

    def column(self, kind: str) -> str:
        """The column of a speed here."""
        return column_of(f"{kind}_tokens_per_second_b{self.lanes}_t{self.context}")

    @property
    def said(self) -> str:
        """`1 lane, context 1,024`."""
        return f"{self.lanes:,} lane{'s' if self.lanes > 1 else ''}, context {self.context:,}"


def places(trials: pl.DataFrame) -> list[Place]:
    """Where some trial's decoding was timed, in order."""
    found = {name: place for name in metrics_in(trials.columns) if (place := _place(name))}
    return sorted({found[name] for name in found if trials[column_of(name)].drop_nulls().len()})


def _place(name: str) -> Place | None:
    """Where a metric of decoding was timed; None for other metrics."""
    found = indices_of(name)
    return Place(int(found["context"]), int(found["lanes"])) if "timed" in found else None


def usual(found: Sequence[Place]) -> Place | None:
    """The longest context at the fewest lanes."""
    return max(found, key=lambda place: (-place.lanes, place.context), default=None)


def speed_column(trials: pl.DataFrame, asked: str) -> str:
    """The column of a speed by its short name (`decode`, `uncached`, `prefill`, `training`) or its
    metric's.

    Raises UserError for one that no trial has.
    """
    place, name = usual(places(trials)), metric_of(asked)
    known = {name: column_of(name) for name in metrics_in(trials.columns) if is_speed(name)}
    short = {kind: place.column(kind) for kind in KINDS} if place else {}
    short |= {"training": TRAINING}
    column = short.get(name, known.get(name, ""))
    if column not in trials.columns:
        listed = [kind for kind, of in short.items() if of in trials.columns]
        raise UserError(f"no trial has a speed `{asked}`", cure=nearest(name, [*listed, *known]))
    return column


def speed_title(column: str) -> str:
    """What a speed is called on an axis."""
    name = metric_of(column)
    if place := _place(name):
        return f"tokens/s, {KINDS[indices_of(name)['timed']]} ({place.said})"
    return "tokens/s, training" if column == TRAINING else name.replace("_", " ")
