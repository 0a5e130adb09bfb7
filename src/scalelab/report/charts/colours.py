"""Which colour, shape and dash a series has, in every figure.

They belong to the series, an arm or a mode, and not to its place in one picture: they are decided
by its place among all series of the experiment, those included that a filter leaves out or that
have no result yet. So an arm keeps its colour from panel to panel, from figure to figure, and
whatever else is drawn beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import altair as alt

from scalelab.report.arms import Arms
from scalelab.report.figure import Rows
from scalelab.report.recall import SERIES

COLOURS = 6
"""Colours of a theme; the series after that begin anew, with other shapes and dashes."""
MOST = 24
"""Series that can be told apart at all."""

_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_DASHES = ([1, 0], [6, 3], [2, 2], [10, 3, 2, 3])


@dataclass(frozen=True)
class Palette:
    """Series in the order of their colours, and which of them are shown."""

    names: Sequence[Any]
    shown: Sequence[Any]

    @classmethod
    def of(cls, shown: Sequence[Any], every: Sequence[Any]) -> "Palette":
        """Of series whose names are the same, whatever is shown."""
        return cls([*every, *(name for name in shown if name not in every)], shown)

    @classmethod
    def placed(
        cls, shown: Mapping[str, Sequence[str]], every: Mapping[str, Sequence[str]]
    ) -> "Palette":
        """Of series by name with the digests of their trials: a name may change with what is shown,
        as it tells only what varies, so that a series is known by its trials.

        A name whose place another one has, or which has none, takes a colour after the last. More
        than can be told apart take the colours of their order among those that are shown.
        """
        names = list(every)
        if len(names) > MOST:
            return cls(list(shown), list(shown))
        place = {digest: at for at, name in enumerate(names) for digest in every[name]}
        after, taken = count(len(names)), dict[int, str]()
        for name in sorted(shown, key=lambda name: name not in every):
            at = names.index(name) if name in every else place.get(next(iter(shown[name]), ""))
            taken[next(after) if at is None or at in taken else at] = name
        # Names after the last one shown would only make the picture larger.
        domain = [
            taken[at] if at in taken else f"{names[at]} (left out)"
            for at in range(max(taken, default=-1) + 1)
        ]
        return cls(domain, list(shown))

    @classmethod
    def of_arms(cls, arms: Arms, rows: Rows) -> "Palette":
        """Of the names of arms among all arms of the rows' experiments."""
        return cls.placed(_by_name(arms), _by_name(Arms.of(rows.unfiltered, [], states=None)))

    def legend(self, **options: Any) -> alt.Legend:
        """A legend of those that are shown."""
        if len(self.shown) < len(self.names):
            options["values"] = list(self.shown)
        return alt.Legend(**options)

    def colour(
        self, field: str, legend: alt.Legend | None = None, title: str | None = None
    ) -> alt.Color:
        """The channel of the colours."""
        return alt.Color(field, title=title, legend=legend).scale(domain=list(self.names))

    def shape(self, field: str, legend: alt.Legend | None = None) -> alt.Shape:
        """The channel of the shapes: those of one colour differ."""
        shapes = [_SHAPES[(at + at // COLOURS) % len(_SHAPES)] for at in range(len(self.names))]
        channel = alt.Shape(field, title=None, legend=legend)
        return channel.scale(domain=list(self.names), range=shapes)

    def dash(self, field: str, legend: alt.Legend | None = None) -> alt.StrokeDash:
        """The channel of the dashes: those of one colour differ."""
        dashes = [_DASHES[at // COLOURS % len(_DASHES)] for at in range(len(self.names))]
        channel = alt.StrokeDash(field, title=None, legend=legend)
        return channel.scale(domain=list(self.names), range=dashes)


def modes(shown: Sequence[str]) -> Palette:
    """Recall modes by their names on the page."""
    return Palette.of(shown, list(SERIES.values()))


def _by_name(arms: Arms) -> dict[str, list[str]]:
    """Name -> digests, in every setting."""
    return {
        name: [digest for arm in arms.found if arm.name == name for digest in arm.digests]
        for name in arms.names
    }
