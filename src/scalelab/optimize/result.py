"""What a search over a space found: its trials in the order of asking, the best and the worst, the
front, and which settings mattered.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scalelab.core.events import FINISHED, PRUNED
from scalelab.core.units import brief
from scalelab.fit.importance import importances
from scalelab.optimize.front import Losses, beats, losses
from scalelab.spec.objectives import planned_value
from scalelab.store.reader import Reader
from scalelab.store.records import StoredTrial
from scalelab.tasks import KINDS

Setting = Mapping[str, Any]
"""Searched path -> a number, or the name of a choice."""


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a search, as the search sees it."""

    number: int
    """From 1, in the order of asking."""
    stored: StoredTrial
    setting: Setting
    """The searched paths that apply to it."""
    values: tuple[float, ...]
    """Its objectives; NaN where it has none."""

    @property
    def digest(self) -> str:
        """Of the trial."""
        return self.stored.record.digest

    @property
    def state(self) -> str:
        """Where the trial stands."""
        return self.stored.result.state

    @property
    def pruned(self) -> bool:
        """Whether the search ended it early."""
        return PRUNED in self.stored.result.metrics

    @property
    def counts(self) -> bool:
        """Whether it came to its end with every objective."""
        return self.state in FINISHED and not self.pruned and all(map(math.isfinite, self.values))


@dataclass(frozen=True)
class SearchResult:
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
    tried: Sequence[SearchTrial]

    @cached_property
    def complete(self) -> list[SearchTrial]:
        """Trials that came to their end, in the order of asking."""
        return [one for one in self.tried if one.counts]

    @cached_property
    def ranked(self) -> list[SearchTrial]:
        """The same, the best of the first objective first."""
        return sorted(self.complete, key=lambda one: self.loss(one)[0])

    @cached_property
    def front(self) -> list[SearchTrial]:
        """Trials that no other beats in one objective and equals in the rest, by the first
        objective.
        """
        return [
            one
            for one in self.ranked
            if not any(beats(self.loss(other), self.loss(one)) for other in self.complete)
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

    def loss(self, one: SearchTrial) -> Losses:
        """The objectives with their signs turned so that less is better."""
        return losses(one.values, self.lower)

    @cached_property
    def ends(self) -> dict[str, SearchTrial]:
        """Title -> the best and the worst of one objective; of several the best in each.

        Each trial once.
        """
        named = [("best", self.ranked[0]), ("worst", self.ranked[-1])]
        if len(self.objectives) > 1:
            named = [
                (f"best {name}", min(self.front, key=lambda one: self.loss(one)[at]))
                for at, name in enumerate(self.labels)
            ]
        found: dict[str, SearchTrial] = {}
        for title, one in named:
            if all(one is not other for other in found.values()):
                found[title] = one
        return found

    def as_dict(self) -> dict[str, Any]:
        """It for `--json`: the best and the worst by the first objective, and the front."""

        def summary(one: SearchTrial) -> dict[str, Any]:
            return {"digest": one.digest, "values": list(one.values), "setting": dict(one.setting)}

        return {
            "objectives": list(self.objectives),
            "pruned": sum(one.pruned for one in self.tried),
            "best": summary(self.ranked[0]),
            "worst": summary(self.ranked[-1]),
            "front": [summary(one) for one in self.front],
            "importances": dict(self.importances),
        }


def is_search(spec: Mapping[str, Any]) -> bool:
    """Whether a stored spec is a space that was searched."""
    return bool(spec.get("objectives") and spec.get("search"))


def read_result(store: Reader, name: str) -> SearchResult | None:
    """What a store knows of a search; None if none of its trials has come to its end."""
    specs = {found.name: found.spec for found in store.experiments()}
    found = search_result(name, specs[name], store.members(name))
    return found if found.complete else None


def search_result(
    name: str, spec: Mapping[str, Any], trials: Sequence[StoredTrial]
) -> SearchResult:
    """The result of a search, by the spec and the trials of its experiment (see `is_search`)."""
    space, objectives = spec["search"], list(spec["objectives"])
    values = [_values(objective, trials) for objective in objectives]
    asked = [
        (stored, tuple(column[at] for column in values))
        for at, stored in enumerate(trials)
        if stored.result.state not in ("missing", "queued")
    ]
    tried = [
        SearchTrial(number, stored, _setting(space, stored.record.axes), reached)
        for number, (stored, reached) in enumerate(asked, 1)
    ]
    kinds = {stored.record.trial.get("task", {}).get("kind") for stored in trials}
    labels = [task.labels for kind, task in KINDS.items() if kind in kinds]
    return SearchResult(
        name,
        list(space),
        frozenset(path for path, given in space.items() if given.get("log")),
        objectives,
        [next((each[one] for each in labels if one in each), one) for one in objectives],
        [spec["objectives"][one] != "maximize" for one in objectives],
        tried,
    )


def _values(objective: str, trials: Sequence[StoredTrial]) -> list[float]:
    """An objective of every trial: its final metric; or, if no trial measured it, what the plan
    knows (FLOPs, parameters). NaN if there is neither.
    """
    if any(objective in one.result.metrics for one in trials):
        found = [one.result.metrics.get(objective) for one in trials]
    else:
        records = [one.record for one in trials]
        found = [planned_value(objective, one.params, one.flops, one.tokens) for one in records]
    return [math.nan if value is None else float(value) for value in found]


def _setting(space: Mapping[str, Any], axes: Mapping[str, Any]) -> Setting:
    """Numbers of a range as they are; a choice, be it a number or a part of a spec, as a word."""

    def shown(distribution: Mapping[str, Any], value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number and not distribution.get("choice") else brief(value)

    return {path: shown(space[path], value) for path, value in axes.items() if path in space}
