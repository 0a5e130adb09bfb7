"""What a search over a space can learn from: the trials of its own experiment in the order of
asking, and every other result.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from scalelab.core.events import State
from scalelab.store.database import table_of
from scalelab.store.patience import patient
from scalelab.store.pruning import HAS_RESULT
from scalelab.store.reader import Reader
from scalelab.store.records import Result, TrialRecord
from scalelab.store.tables import Memberships, Metrics, Trials

_trials, _members, _metrics = table_of(Trials), table_of(Memberships), table_of(Metrics)

Points = Sequence[tuple[int, float]]
"""(step, value), ascending."""


@dataclass(frozen=True)
class Member:
    """A trial of the search's own experiment."""

    record: TrialRecord
    result: Result
    curve: Points
    """What the trial measured on its way."""


@dataclass(frozen=True)
class Other:
    """A result that the search did not ask for."""

    digest: str
    trial: Mapping[str, Any]
    """The resolved trial, every field written down."""
    state: State
    metrics: Mapping[str, float]


def members(store: Reader, experiment: str, metric: str | None = None) -> list[Member]:
    """The experiment's trials in the order of asking, each with the curve of a metric; none where
    the store does not know it.
    """
    if not store.has(experiment):
        return []
    curves = {} if metric is None else _curves(store, experiment, metric)
    return [
        Member(record, result, curves.get(record.digest, ()))
        for record, _, result in store.members(experiment)
    ]


@patient
def is_member(store: Reader, experiment: str, digest: str) -> bool:
    """Whether the trial belongs to the experiment already."""
    query = select(_members.c.trial).join(_trials, _trials.c.id == _members.c.trial)
    with store.database.reading() as connection:
        return (
            connection.scalar(
                query.where(_members.c.experiment == experiment, _trials.c.digest == digest)
            )
            is not None
        )


def _curves(store: Reader, experiment: str, metric: str) -> dict[str, list[tuple[int, float]]]:
    query = select(_trials.c.digest, _metrics.c.step, _metrics.c.value).select_from(_members)
    query = query.join(_trials, _trials.c.id == _members.c.trial).join(
        _metrics, _metrics.c.trial == _members.c.trial
    )
    query = query.where(_members.c.experiment == experiment, _metrics.c.name == metric).order_by(
        _metrics.c.trial, _metrics.c.step
    )
    curves: dict[str, list[tuple[int, float]]] = {}
    with store.database.reading() as connection:
        for digest, step, value in connection.execute(query):
            curves.setdefault(digest, []).append((step, math.nan if value is None else value))
    return curves


def others(store: Reader, experiment: str, only: Mapping[str, Collection[str]]) -> list[Other]:
    """Every result that was run here and is no trial of the experiment, in the order in which the
    store came to know them.

    `only` says which words may stand at a path of the trial, as `{"task.kind": ["text"]}`. What a
    search ended early is left out.
    """
    own = select(_members.c.trial).where(_members.c.experiment == experiment)
    words = [
        store.database.kind.text_at(_trials.c.trial, path).in_(list(allowed))
        for path, allowed in only.items()
    ]
    query = select(_trials.c.digest, _trials.c.trial, _trials.c.state, _trials.c.metrics)
    query = query.where(
        HAS_RESULT, _trials.c.origin == "run", _trials.c.id.not_in(own), *words
    ).order_by(_trials.c.id)
    with store.database.reading() as connection:
        return [Other(*row) for row in connection.execute(query)]
