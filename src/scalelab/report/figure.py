"""What a figure is: rows in, a drawing out.

A drawing is plain data, so that a page, a picture and a JSON file come from one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from scalelab.core.errors import UserError
from scalelab.fit.warned import Warned
from scalelab.store.fits import StoredFit
from scalelab.store.records import StoredTrial


@dataclass(frozen=True)
class Rows:
    """What a figure draws: trial memberships (`store.frames.trials`), and the spec of each
    experiment by its name.
    """

    trials: pl.DataFrame
    specs: Mapping[str, Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: pl.DataFrame = field(default_factory=pl.DataFrame)
    """`digest`, `step`, `name`, `value` (`store.frames.metrics`), for figures that ask for curves;
    else empty.
    """
    fits: Sequence[StoredFit] = ()
    """Fits of these experiments that the store keeps, the newest last."""
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Digest -> name -> text that a trial left in the store itself, for figures that ask for notes;
    else empty.
    """
    searches: Mapping[str, Sequence[StoredTrial]] = field(default_factory=dict)
    """Of every experiment that is a search its trials in the order of asking, for figures that ask
    for searches; else empty.
    """
    filter: str | None = None
    """What the trials were chosen by."""
    before: int = 0
    """How many trials there were before the filter."""
    every: pl.DataFrame | None = None
    """The trials before the filter, where there is one: series have their colours among all."""

    @property
    def unfiltered(self) -> "Rows":
        """The same before the filter."""
        return self if self.every is None else replace(self, trials=self.every, every=None)


@dataclass(frozen=True)
class Table:
    """A table of the page: text as it is, numbers as they are shown.

    `numeric` columns stand right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    texts: bool = False
    """Whether its cells are texts whose lines are kept."""


@dataclass(frozen=True)
class Panel:
    """One chart of a page, with the numbers that it shows as a table that can be saved."""

    name: str
    """Of its files and its anchor: letters, digits and dashes."""
    title: str
    """Above the chart; empty where the page's title says it."""
    chart: Mapping[str, Any]
    caption: str
    table: Table | None = None


@dataclass(frozen=True)
class Piece:
    """A piece of a text that is coloured."""

    text: str
    level: float
    """From 0, no colour, to 1."""
    title: str
    """What it says when pointed at: all that the colour tells, and more."""


@dataclass(frozen=True)
class Passage:
    """A text of the page whose pieces are coloured by a number."""

    name: str
    """Its anchor: letters, digits and dashes."""
    title: str
    rows: Sequence[Sequence[Piece]]
    legend: Sequence[Piece]
    caption: str


@dataclass(frozen=True)
class Drawing:
    """One figure, drawn: what the page says and shows, and `data` for the JSON file beside it."""

    title: str
    verdict: Sequence[str]
    panels: Sequence[Panel]
    metric: str
    """The column of the rows that decides, shown for every run."""
    tables: Sequence[Table]
    reading: Sequence[str]
    methods: Sequence[str]
    data: Mapping[str, Any]
    warnings: Sequence[Warned] = ()
    passages: Sequence[Passage] = ()


@dataclass(frozen=True)
class Figure(ABC):
    """A figure by number and name; a subclass knows how it is drawn."""

    number: int
    name: str
    title: str
    experiment: str
    """The experiment that is drawn where none is named; empty where it belongs to no spec."""
    spec: str
    """The spec file that makes its data, if one does."""
    recipe: int = 1
    """Raised when the same rows give another drawing."""
    needs_curves: bool = False
    """Whether it draws curves (`Rows.curves`), which are many rows."""
    needs_fits: bool = False
    """Whether it draws fits that the store keeps (`Rows.fits`)."""
    needs_notes: bool = False
    """Whether it draws texts that trials left in the store (`Rows.notes`)."""
    needs_searches: bool = False
    """Whether it draws what searches found (`Rows.searches`)."""
    needs_pruned: bool = False
    """Whether it draws trials that a search ended early too."""

    def curves_of(self, names: Sequence[str]) -> Sequence[str]:
        """Those of the recorded names whose curves it draws, or needs to draw the others."""
        return names

    @property
    def options(self) -> Mapping[str, str]:
        """What was chosen of the ways in which it can be drawn; kept beside the drawing."""
        return {}

    def chosen(self, options: Mapping[str, str]) -> "Figure":
        """The figure as it is drawn with these options.

        Raises UserError for one that it does not take.
        """
        if options:
            listed = " and ".join(f"--{name}" for name in options)
            raise UserError(
                f"figure {self.number} ({self.name}) takes no {listed}", cure="leave it out"
            )
        return self

    def has_data(self, rows: Rows) -> bool:
        """Whether the rows hold anything to draw."""
        return not self.lacks(rows)

    @abstractmethod
    def lacks(self, rows: Rows) -> str:
        """What these rows lack that it draws, as the beginning of a sentence (`no finished trial
        has `metrics.bits``); empty where there is something to draw.
        """

    @property
    def cure(self) -> str:
        """What makes its data."""
        return f"`scalelab run {self.spec}` makes it" if self.spec else "run trials that have it"

    @abstractmethod
    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where the rows can't be drawn together."""
