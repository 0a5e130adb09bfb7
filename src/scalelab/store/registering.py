"""Experiments, trials and memberships into the tables. Each function is a part of its caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from scalelab.core.canon import canonical_json
from scalelab.store.database import Database, table_of
from scalelab.store.records import TrialRecord
from scalelab.store.tables import Experiments, Memberships, Trials

CHUNK = 5000
"""Values in one query: databases limit how many a statement may carry."""

_trials, _members = table_of(Trials), table_of(Memberships)


def write_experiment(database: Database, connection: Connection, name: str, spec: dict[str, Any], now: float) -> None:
    """A new experiment, or the new spec of a known one."""
    statement = database.kind.insert(table_of(Experiments)).values(name=name, spec=spec, created=now)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"spec": statement.excluded.spec}))


def ids_of(connection: Connection, digests: Sequence[str]) -> dict[str, int]:
    """Row ids of the digests that are known."""
    found: dict[str, int] = {}
    for begin in range(0, len(digests), CHUNK):
        query = select(_trials.c.digest, _trials.c.id).where(_trials.c.digest.in_(digests[begin : begin + CHUNK]))
        found |= {row.digest: row.id for row in connection.execute(query)}
    return found


def insert_new(connection: Connection, records: Iterable[TrialRecord]) -> dict[str, int]:
    """Queue the trials that are not known yet; row ids of them all."""
    unique = {record.digest: record for record in records}
    known = ids_of(connection, list(unique))
    rows = [row_of(record) for digest, record in unique.items() if digest not in known]
    if not rows:
        return known
    connection.execute(insert(_trials), rows)
    return ids_of(connection, list(unique))


def leave_places(connection: Connection, experiment: str, records: Sequence[TrialRecord]) -> None:
    """End the membership of trials whose place, axes and replicate, one of these takes."""
    taken = {_place(record.axes, record.replicate): record.digest for record in records}
    query = select(_members, _trials.c.digest).join(_trials, _trials.c.id == _members.c.trial).where(_members.c.experiment == experiment)
    members = connection.execute(query).all()
    gone = [row.trial for row in members if taken.get(_place(row.axes, row.replicate), row.digest) != row.digest]
    for begin in range(0, len(gone), CHUNK):
        leaving = _members.c.trial.in_(gone[begin : begin + CHUNK])
        connection.execute(delete(_members).where(_members.c.experiment == experiment, leaving))


def write_members(
    database: Database, connection: Connection, experiment: str, records: Sequence[TrialRecord], ids: Mapping[str, int]
) -> None:
    """The trials as members of the experiment, in this order."""
    rows = [
        {"experiment": experiment, "trial": ids[record.digest], "position": position, "axes": record.axes, "replicate": record.replicate}
        for position, record in enumerate(records)
    ]
    database.upsert(connection, Memberships, rows, keys=("experiment", "trial"))


def row_of(record: TrialRecord) -> dict[str, Any]:
    """A queued trial's row."""
    return {
        "digest": record.digest, "identity": record.identity, "trial": record.trial, "seed": record.seed, "params": record.params,
        "steps": record.steps, "tokens": record.tokens, "exposures": record.exposures, "flops": float(record.flops),
        "origin": record.origin, "extra": record.extra, "state": "queued", "metrics": {},
    }  # fmt: skip


def _place(axes: dict[str, Any], replicate: int) -> str:
    return canonical_json([axes, replicate])
