"""What a search over a space learns from: the trials of its own experiment, in the order of asking,
and results of other experiments.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from scalelab.spec.document import Document
from scalelab.spec.objectives import PLAN_FACTS
from scalelab.spec.space import Space
from scalelab.store.database import table_of
from scalelab.store.patience import patient
from scalelab.store.pruning import HAS_RESULT
from scalelab.store.reader import Reader, record_of
from scalelab.store.records import Curve, Result, StoredTrial
from scalelab.store.tables import Memberships, Metrics, Trials

_trials, _members, _metrics = table_of(Trials), table_of(Memberships), table_of(Metrics)


@dataclass(frozen=True)
class TrialHistory:
    """The trials that a store knows and a search can learn from."""

    own: Sequence[StoredTrial] = ()
    """Those that the search asked for, in the order of asking: they count for its budget. Their
    curves are those of the objective that a pruner compares.
    """
    others: Sequence[StoredTrial] = ()
    """Results of other experiments, for a warm start."""


def search_history(
    store: Reader,
    space: Space,
    document: Document,
    *,
    warm: bool = True,
    retry_failed: bool = False,
) -> TrialHistory:
    """The history of a space's experiment. `document` is where the space is written down.

    Without `warm` it has no others. With `retry_failed` trials that failed are queued again.
    """
    objectives = list(space.objectives)
    metric = objectives[0] if len(objectives) == 1 and objectives[0] not in PLAN_FACTS else None
    own = [
        replace(one, result=replace(one.result, state="queued"))
        if retry_failed and one.state == "failed"
        else one
        for one in members_with_curves(store, space.name, metric)
    ]
    if not warm:
        return TrialHistory(own, [])
    # Of the kinds of task and model that the base has, where the space does not search them.
    kinds: dict[str, list[str]] = {}
    for part in ("task", "model"):
        kind = document.data["base"].get(part, {}).get("kind")
        if kind is not None and part not in space.search and f"{part}.kind" not in space.search:
            kinds[f"{part}.kind"] = [kind]
    return TrialHistory(own, other_results(store, space.name, kinds))


def members_with_curves(
    store: Reader, experiment: str, metric: str | None = None
) -> list[StoredTrial]:
    """The experiment's trials in the order of asking, each with the curve of a metric; none if the
    store does not know it.
    """
    if not store.has(experiment):
        return []
    curves = {} if metric is None else _curves(store, experiment, metric)
    return [replace(one, curve=curves.get(one.digest, ())) for one in store.members(experiment)]


def _curves(store: Reader, experiment: str, metric: str) -> dict[str, Curve]:
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
    return dict(curves)


def other_results(
    store: Reader, experiment: str, only: Mapping[str, Collection[str]]
) -> list[StoredTrial]:
    """Every result that was run here and is no trial of the experiment, in the order in which the
    store came to know them; without axes.

    `only` says which words may stand at a path of the trial, as `{"task.kind": ["text"]}`. What a
    search ended early is left out.
    """
    own = select(_members.c.trial).where(_members.c.experiment == experiment)
    words = [
        store.database.kind.text_at(_trials.c.trial, path).in_(list(allowed))
        for path, allowed in only.items()
    ]
    query = select(_trials).where(
        HAS_RESULT, _trials.c.origin == "run", _trials.c.id.not_in(own), *words
    )
    with store.database.reading() as connection:
        return [
            StoredTrial(
                record_of(row, {}, 0), Result(row.state, row.metrics, row.seconds, row.step)
            )
            for row in connection.execute(query.order_by(_trials.c.id))
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
