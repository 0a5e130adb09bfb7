"""The trials of another store into this one, by digest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from scalelab.core.canon import canonical_json
from scalelab.core.events import FINISHED, is_same
from scalelab.core.metrics import is_speed
from scalelab.store.database import table_of
from scalelab.store.fits import fit_rows
from scalelab.store.incoming import Checked, refused
from scalelab.store.pruning import IS_PRUNED
from scalelab.store.registering import CHUNK, ids_of
from scalelab.store.store import Store
from scalelab.store.tables import (
    Artifacts,
    Attempts,
    Environments,
    Experiments,
    Fits,
    Memberships,
    Metrics,
    Trials,
)

_trials, _members, _attempts, _environments = (
    table_of(Trials),
    table_of(Memberships),
    table_of(Attempts),
    table_of(Environments),
)
_experiments, _metrics, _artifacts, _fits = (
    table_of(Experiments),
    table_of(Metrics),
    table_of(Artifacts),
    table_of(Fits),
)

UNENDED = ("running", "lost", "interrupted")
"""States of an attempt that did not come to its own end, as far as is known."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """What came of a merge, in trials."""

    imported: int
    """Those that are new here, or have news."""
    differing: list[str]
    """Digests of those whose result here is another one, which stays."""
    outside: int
    """Those that are not in an experiment as they are there: another trial has the place here."""


def merge(other: Checked, store: Store, experiments: Sequence[str] | None = None) -> Merged:
    """Merge another store's trials into `store`, with curves, attempts, environments and fits; of
    these experiments alone, where some are named.

    A result beats what a search ended early, that beats a failure, and a failure beats a trial that
    has not ended. Where both stores know as much, the trial of `store` stays, so that merging again
    changes nothing. All in one transaction. Raises UserError.
    """
    chosen = None if experiments is None else other.known(experiments)
    try:
        with other.database.reading() as theirs, store.database.writing() as ours:
            ids, brought, differing = _merge_trials(theirs, ours, chosen)
            for table in (_metrics, _artifacts):
                _merge_rows(theirs, ours, table, {their: ids[their] for their in brought})
            _merge_attempts(theirs, ours, ids)
            outside = _merge_experiments(theirs, ours, ids, chosen)
            # A key is all that decides a fit: one that stands here is the same.
            stored = set(ours.scalars(select(_fits.c.key)))
            fits = [
                dict(row._mapping)
                for row in fit_rows(other.database, theirs)
                if row.key not in stored and (chosen is None or row.experiment in chosen)
            ]
            if fits:
                ours.execute(insert(_fits), fits)
    except (DataError, IntegrityError) as error:  # two trials of one digest, say
        raise refused(other, error) from error
    return Merged(len(brought), differing, outside)


def _merge_trials(
    theirs: Connection, ours: Connection, experiments: Sequence[str] | None
) -> tuple[dict[int, int], list[int], list[str]]:
    """Their id -> our id, those of their ids whose trial is new here or has news, and the digests
    of results that are others here.
    """
    query = select(_trials, IS_PRUNED.label("pruned")).order_by(_trials.c.id)
    if experiments is not None:
        members = select(_members.c.trial).where(_members.c.experiment.in_(experiments))
        query = query.where(_trials.c.id.in_(members))
    rows = theirs.execute(query).all()
    states = select(_trials.c.digest, _trials.c.state, IS_PRUNED.label("pruned"))
    known = {row.digest: row for row in ours.execute(states)}
    brought: list[int] = []
    both: list[Any] = []
    fresh: list[Row] = []
    for row in rows:
        content = {
            name: value for name, value in row._mapping.items() if name not in ("id", "pruned")
        }
        if row.state == "running":
            content["state"] = "queued"  # nobody runs it here
        mine = known.get(row.digest)
        if mine is None:
            fresh.append(content)
        elif _rank(row) > _rank(mine):
            ours.execute(update(_trials).where(_trials.c.digest == row.digest).values(content))
        else:
            if _rank(row) == _rank(mine) and row.state in FINISHED:
                both.append(row)
            continue
        brought.append(row.id)
    if fresh:
        ours.execute(insert(_trials), fresh)
    here = ids_of(ours, [row.digest for row in rows])
    differing = _differing(both, ours, here)
    return {row.id: here[row.digest] for row in rows}, brought, differing


def _differing(both: list[Any], ours: Connection, ids: dict[str, int]) -> list[str]:
    """Digests of the trials with a result in both stores that have another one here, in what both
    of them measured.
    """
    found: list[str] = []
    for begin in range(0, len(both), CHUNK):
        part = {ids[row.digest]: row for row in both[begin : begin + CHUNK]}
        query = select(_trials.c.id, _trials.c.state, _trials.c.metrics)
        mine = {row.id: row for row in ours.execute(query.where(_trials.c.id.in_(list(part))))}
        for id_, row in part.items():
            here = mine[id_]
            if row.state != here.state or any(
                not is_same(row.metrics[name], here.metrics[name])
                for name in row.metrics.keys() & here.metrics.keys()
                if not is_speed(name)
            ):
                found.append(row.digest)
    return found


def _rank(row: Any) -> int:
    return 2 if row.pruned else 3 if row.state in FINISHED else int(row.state == "failed")


def _merge_rows(theirs: Connection, ours: Connection, table: Table, ids: dict[int, int]) -> None:
    """Their curves (or artifacts) in the place of ours, for these trials."""
    for chunk in _chunks(list(ids)):
        ours.execute(delete(table).where(table.c.trial.in_([ids[their] for their in chunk])))
        for part in theirs.execute(select(table).where(table.c.trial.in_(chunk))).partitions(
            20_000
        ):
            ours.execute(insert(table), [{**row._mapping, "trial": ids[row.trial]} for row in part])


def _merge_attempts(theirs: Connection, ours: Connection, ids: dict[int, int]) -> None:
    states = select(_attempts.c.key, _attempts.c.state)
    known = {row.key: row.state for row in ours.execute(states)}
    chosen = [
        row
        for row in theirs.execute(select(_attempts).order_by(_attempts.c.id))
        if row.trial in ids
    ]
    for row in chosen:
        # One whose driver could not write its end here.
        if known.get(row.key) in UNENDED and row.state not in UNENDED:
            end = {
                name: row._mapping[name] for name in ("state", "ended", "seconds", "step", "error")
            }
            ours.execute(update(_attempts).where(_attempts.c.key == row.key).values(end))
    rows = [row for row in chosen if row.key not in known]
    environments = _merge_environments(theirs, ours, {row.environment for row in rows})
    new = [
        {name: value for name, value in row._mapping.items() if name != "id"}
        | {"trial": ids[row.trial], "environment": environments[row.environment]}
        | ({"state": "lost"} if row.state == "running" else {})
        for row in rows
    ]
    if new:
        ours.execute(insert(_attempts), new)


def _merge_environments(theirs: Connection, ours: Connection, used: set[int]) -> dict[int, int]:
    """Their id -> our id, of the environments that are used."""
    known = {
        row.digest: row.id
        for row in ours.execute(select(_environments.c.digest, _environments.c.id))
    }
    ids: dict[int, int] = {}
    for row in theirs.execute(select(_environments).order_by(_environments.c.id)):
        if row.id not in used:
            continue
        if row.digest not in known:
            new = (
                insert(_environments)
                .values(digest=row.digest, data=row.data)
                .returning(_environments.c.id)
            )
            known[row.digest] = ours.execute(new).scalar_one()
        ids[row.id] = known[row.digest]
    return ids


def _merge_experiments(
    theirs: Connection, ours: Connection, ids: dict[int, int], chosen: Sequence[str] | None
) -> int:
    """Experiments by name; gives the number of trials that stay outside of theirs.

    A place (axes and replicate) that is taken here stays as it is: an experiment is what its spec
    says.
    """
    known = set(ours.scalars(select(_experiments.c.name)))
    fresh = [
        dict(row._mapping)
        for row in theirs.execute(select(_experiments))
        if row.name not in known and (chosen is None or row.name in chosen)
    ]
    if fresh:
        ours.execute(insert(_experiments), fresh)
    mine = ours.execute(select(_members)).all()
    taken = {_place(row) for row in mine}
    members = {(row.experiment, row.trial) for row in mine}
    rows = [
        row
        for row in theirs.execute(select(_members))
        if (chosen is None or row.experiment in chosen)
        and (row.experiment, ids[row.trial]) not in members
    ]
    new = [{**row._mapping, "trial": ids[row.trial]} for row in rows if _place(row) not in taken]
    if new:
        ours.execute(insert(_members), new)
    return len(rows) - len(new)


def _place(row: Any) -> str:
    return canonical_json([row.experiment, row.axes, row.replicate])


def _chunks(ids: list[int]) -> Iterable[list[int]]:
    return (ids[begin : begin + CHUNK] for begin in range(0, len(ids), CHUNK))
