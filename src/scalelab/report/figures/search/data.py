"""The trials of a guided search, in the order in which they were asked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scalelab.core.events import FINISHED, PRUNED
from scalelab.core.metrics import column_of
from scalelab.core.units import brief
from scalelab.fit.importance import importances
from scalelab.report.averages import labelled
from scalelab.report.figure import Rows

Setting = Mapping[str, Any]
"""Searched path -> a number, or the name of a choice."""


@dataclass(frozen=True)
class Tried:
    """One trial of a search."""

    number: int
    """From 1, in the order of asking."""
    digest: str
    state: str
    setting: Setting
    """The searched paths that apply to it."""
    values: tuple[float, ...]
    """Its objectives; NaN where it has none."""
    pruned: bool

    @property
    def counts(self) -> bool:
        """Whether it came to its end with every objective."""
        return self.state in FINISHED and not self.pruned and all(map(math.isfinite, self.values))


@dataclass(frozen=True)
class Searched:
    """A search and what became of it."""

    name: str
    paths: Sequence[str]
    """What was searched."""
    on_log: frozenset[str]
    """Of these the numbers whose ratios count."""
    objectives: Sequence[str]
    labels: Sequence[str]
    """The objectives as charts and tables call them."""
    lower: Sequence[bool]
    """Whether less of an objective is better."""
    tried: Sequence[Tried]

    @cached_property
    def complete(self) -> list[Tried]:
        """Trials that came to their end, in the order of asking."""
        return [one for one in self.tried if one.counts]

    @cached_property
    def ranked(self) -> list[Tried]:
        """The same, the best of the first objective first."""
        return sorted(self.complete, key=lambda one: self.loss(one)[0])

    @cached_property
    def front(self) -> list[Tried]:
        """Trials that no other beats in one objective and equals in the rest, by the first
        objective.
        """
        return [
            one
            for one in self.ranked
            if not any(self._beats(other, one) for other in self.complete)
        ]

    @cached_property
    def importances(self) -> dict[str, float]:
        """See `fit.importance.importances`."""
        return importances(
            [one.setting for one in self.complete],
            [one.values for one in self.complete],
            self.lower,
            self.on_log,
        )

    def loss(self, one: Tried) -> tuple[float, ...]:
        """The objectives with their signs turned so that less is better."""
        return tuple(
            value if less else -value for value, less in zip(one.values, self.lower, strict=True)
        )

    @cached_property
    def ends(self) -> dict[str, Tried]:
        """Title -> the best and the worst of one objective; of several the best in each.

        Each trial once.
        """
        named = [("best", self.ranked[0]), ("worst", self.ranked[-1])]
        if len(self.objectives) > 1:
            named = [
                (f"best {name}", min(self.front, key=lambda one: self.loss(one)[at]))
                for at, name in enumerate(self.labels)
            ]
        found: dict[str, Tried] = {}
        for title, one in named:
            if one not in found.values():
                found[title] = one
        return found

    def _beats(self, one: Tried, other: Tried) -> bool:
        mine, others = self.loss(one), self.loss(other)
        return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def searched_of(rows: Rows) -> Searched | None:
    """The first experiment among the rows that is a search; None where none is."""
    for name, spec in rows.specs.items():
        if spec.get("objectives") and spec.get("search"):
            return _searched(name, spec, rows)
    return None


def _searched(name: str, spec: Mapping[str, Any], rows: Rows) -> Searched:
    space, objectives = spec["search"], list(spec["objectives"])
    trials = [
        row
        for row in rows.trials.iter_rows(named=True)
        if row["experiment"] == name and row["state"] not in ("missing", "queued")
    ]
    tried = [
        Tried(
            number=number,
            digest=row["digest"],
            state=row["state"],
            setting={
                path: _said(space[path], value)
                for path, value in rows.settings.get(row["digest"], {}).items()
                if path in space
            },
            values=tuple(_value(row, objective) for objective in objectives),
            pruned=_is_number(row.get(column_of(PRUNED))),
        )
        for number, row in enumerate(trials, 1)
    ]
    on_log = frozenset(path for path, given in space.items() if given.get("log"))
    return Searched(
        name,
        list(space),
        on_log,
        objectives,
        [labelled(one, rows.trials) for one in objectives],
        [spec["objectives"][one] != "maximize" for one in objectives],
        tried,
    )


def _value(row: Mapping[str, Any], objective: str) -> float:
    """A final metric, or what the plan knows: FLOPs, parameters."""
    found = row.get(column_of(objective), row.get(objective))
    return float(found) if _is_number(found) else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def _said(distribution: Mapping[str, Any], value: Any) -> Any:
    """A number of a range as it is; a choice, be it a number or a part of a spec, as a word."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and not distribution.get("choice") else brief(value)
