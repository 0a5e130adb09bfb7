"""What a figure is: rows in, a drawing out. A drawing is plain data, so that a page, a picture and a JSON file come from one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Rows:
    """What a figure draws: trial memberships (`store.frames.trials`), and the spec of each experiment by its name."""

    trials: pl.DataFrame
    specs: Mapping[str, Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the page: text as it is, numbers as they are shown. `numeric` columns stand right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """One figure, drawn: what the page says and shows, and `data` for the JSON file beside it."""

    title: str
    verdict: Sequence[str]
    chart: Mapping[str, Any]
    caption: str
    metric: str
    """The column of the rows that decides, shown for every run."""
    tables: Sequence[Table]
    reading: Sequence[str]
    methods: Sequence[str]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Figure(ABC):
    """A figure by number and name; a subclass knows how it is drawn."""

    number: int
    name: str
    title: str
    experiment: str
    """The experiment that is drawn where none is named."""
    spec: str
    """The spec file that makes its data."""
    recipe: int = 1
    """Raised when the same rows give another drawing."""

    @abstractmethod
    def has_data(self, rows: Rows) -> bool:
        """Whether the rows hold anything to draw."""

    @abstractmethod
    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where the rows can't be drawn together."""
