"""The trials of another store into this one, by digest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from scalelab.core.canon import canonical_json
from scalelab.core.events import FINISHED
from scalelab.store.database import table_of
from scalelab.store.fits import fit_rows
from scalelab.store.opening import open_at
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

Row = dict[str, Any]


def merge(store: Store, where: str | Path) -> int:
    """Bring another store's trials home, with curves, attempts, environments and fits; returns how
    many are new or have news.

    A result beats what a search ended early, that beats a failure, a failure beats a trial that has
    not ended, and where both stores know as much, this one's stays. Again, it changes nothing. All
    in one transaction. Raises UserError.
    """
    with (
        open_at(where, mode="read", clock=store.clock) as other,
        other.database.reading() as theirs,
        store.database.writing() as ours,
    ):
        ids, brought = _trials_home(theirs, ours)
        for table in (_metrics, _artifacts):
            _rows_home(theirs, ours, table, {their: ids[their] for their in brought})
        _attempts_home(theirs, ours, ids, _environments_home(theirs, ours))
        _experiments_home(theirs, ours, ids)
        _fits_home(fit_rows(other.database, theirs), ours)
    return len(brought)


def _trials_home(theirs: Connection, ours: Connection) -> tuple[dict[int, int], list[int]]:
    """Their id -> our id, and those of their ids whose trial is new here or has news."""
    rows = [dict(row._mapping) for row in theirs.execute(select(_trials).order_by(_trials.c.id))]
    ranks = [
        _rank(row)
        for row in theirs.execute(
            select(_trials.c.state, IS_PRUNED.label("pruned")).order_by(_trials.c.id)
        )
    ]
    digests = [row["digest"] for row in rows]
    known = {
        row.digest: _rank(row)
        for row in ours.execute(
            select(_trials.c.digest, _trials.c.state, IS_PRUNED.label("pruned"))
        )
    }
    brought: list[int] = []
    fresh: list[Row] = []
    for row, rank in zip(rows, ranks, strict=True):
        row["state"] = (
            "queued" if row["state"] == "running" else row["state"]
        )  # nobody runs it here
        content = {name: value for name, value in row.items() if name != "id"}
        if row["digest"] not in known:
            fresh.append(content)
        elif rank > known[row["digest"]]:
            ours.execute(update(_trials).where(_trials.c.digest == row["digest"]).values(content))
        else:
            continue
        brought.append(row["id"])
    if fresh:
        ours.execute(insert(_trials), fresh)
    here = ids_of(ours, digests)
    return {row["id"]: here[row["digest"]] for row in rows}, brought


def _rank(row: Any) -> int:
    return 2 if row.pruned else 3 if row.state in FINISHED else int(row.state == "failed")


def _rows_home(theirs: Connection, ours: Connection, table: Table, ids: dict[int, int]) -> None:
    """Their curves (or artifacts) in the place of ours, for these trials."""
    for chunk in _chunks(list(ids)):
        ours.execute(delete(table).where(table.c.trial.in_([ids[their] for their in chunk])))
        for part in theirs.execute(select(table).where(table.c.trial.in_(chunk))).partitions(
            20_000
        ):
            ours.execute(insert(table), [{**row._mapping, "trial": ids[row.trial]} for row in part])


def _environments_home(theirs: Connection, ours: Connection) -> dict[int, int]:
    known = {
        row.digest: row.id
        for row in ours.execute(select(_environments.c.digest, _environments.c.id))
    }
    ids: dict[int, int] = {}
    for row in theirs.execute(select(_environments)):
        if row.digest not in known:
            new = (
                insert(_environments)
                .values(digest=row.digest, data=row.data)
                .returning(_environments.c.id)
            )
            known[row.digest] = ours.execute(new).scalar_one()
        ids[row.id] = known[row.digest]
    return ids


def _attempts_home(
    theirs: Connection, ours: Connection, ids: dict[int, int], environments: dict[int, int]
) -> None:
    known = set(ours.scalars(select(_attempts.c.key)))
    rows = [
        {name: value for name, value in row._mapping.items() if name != "id"}
        | {"trial": ids[row.trial], "environment": environments[row.environment]}
        | ({"state": "lost"} if row.state == "running" else {})
        for row in theirs.execute(select(_attempts).order_by(_attempts.c.id))
        if row.key not in known
    ]
    if rows:
        ours.execute(insert(_attempts), rows)


def _experiments_home(theirs: Connection, ours: Connection, ids: dict[int, int]) -> None:
    """Experiments by name.

    A place (axes and replicate) that is taken here stays as it is: an experiment is what its spec
    says.
    """
    known = set(ours.scalars(select(_experiments.c.name)))
    fresh = [
        dict(row._mapping) for row in theirs.execute(select(_experiments)) if row.name not in known
    ]
    if fresh:
        ours.execute(insert(_experiments), fresh)
    mine = ours.execute(select(_members)).all()
    taken = {_place(row) for row in mine}
    members = {(row.experiment, row.trial) for row in mine}
    rows = [
        {**row._mapping, "trial": ids[row.trial]}
        for row in theirs.execute(select(_members))
        if (row.experiment, ids[row.trial]) not in members and _place(row) not in taken
    ]
    if rows:
        ours.execute(insert(_members), rows)


def _fits_home(theirs: Sequence[Any], ours: Connection) -> None:
    """Fits by key: a key is all that decides a fit, so that one which stands here is the same."""
    known = set(ours.scalars(select(_fits.c.key)))
    rows = [dict(row._mapping) for row in theirs if row.key not in known]
    if rows:
        ours.execute(insert(_fits), rows)


def _place(row: Any) -> str:
    return canonical_json([row.experiment, row.axes, row.replicate])


def _chunks(ids: list[int]) -> Iterable[list[int]]:
    return (ids[begin : begin + CHUNK] for begin in range(0, len(ids), CHUNK))
