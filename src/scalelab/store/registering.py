"""Experiments, trials and memberships into the tables.

Each function is a part of its caller's transaction.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.store.database import Database, table_of
from scalelab.store.records import TrialRecord
from scalelab.store.sources import kind_of_spec, write_source
from scalelab.store.tables import Experiments, Memberships, Trials

CHUNK = 5000
"""Values in one query: databases limit how many a statement may carry."""

_trials, _members, _experiments = table_of(Trials), table_of(Memberships), table_of(Experiments)


def check_name(
    database: Database, connection: Connection, name: str, spec: Mapping[str, Any]
) -> None:
    """Raises UserError where an experiment of another kind has the name: a plan's, a search's and
    an imported table's are not mixed.
    """
    stored = connection.scalar(select(_experiments.c.spec).where(_experiments.c.name == name))
    if stored is None:
        return
    before, now = kind_of_spec(stored), kind_of_spec(spec)
    if before != now:
        what = f"the experiment `{name}` is {before}, and is not mixed with {now}"
        raise UserError(what, cure="give the spec another `name`", where=database.kind.name)


def write_experiment(
    database: Database,
    connection: Connection,
    name: str,
    spec: dict[str, Any],
    now: float,
    file: str | Path | None = None,
) -> None:
    """A new experiment, or the new spec of a known one; `file` is where the spec lies."""
    stored = select(_experiments.c.spec).where(_experiments.c.name == name)
    before = connection.scalar(stored)
    statement = database.kind.insert(_experiments).values(name=name, spec=spec, created=now)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"spec": statement.excluded.spec}
        )
    )
    if file is not None:
        is_same = connection.scalar(stored) == before
        write_source(database, connection, name, file, is_same=is_same)


def ids_of(connection: Connection, digests: Sequence[str]) -> dict[str, int]:
    """Row ids of the digests that are known."""
    found: dict[str, int] = {}
    for begin in range(0, len(digests), CHUNK):
        query = select(_trials.c.digest, _trials.c.id).where(
            _trials.c.digest.in_(digests[begin : begin + CHUNK])
        )
        found |= {row.digest: row.id for row in connection.execute(query)}
    return found


def insert_new(connection: Connection, records: Iterable[TrialRecord]) -> dict[str, int]:
    """Write down the trials that are not known yet; row ids of them all."""
    unique = {record.digest: record for record in records}
    known = ids_of(connection, list(unique))
    rows = [row_of(record) for digest, record in unique.items() if digest not in known]
    if not rows:
        return known
    connection.execute(insert(_trials), rows)
    return ids_of(connection, list(unique))


def insert_one(database: Database, connection: Connection, record: TrialRecord) -> tuple[int, bool]:
    """Write down one trial as `queued`, where it is not known yet; its row id, and whether it was
    new.
    """
    statement = (
        database.kind.insert(_trials)
        .values(row_of(record) | {"state": "queued"})
        .on_conflict_do_nothing(index_elements=["digest"])
    )
    new = connection.execute(statement.returning(_trials.c.id)).scalar()
    return (
        (new, True)
        if new is not None
        else (ids_of(connection, [record.digest])[record.digest], False)
    )


def end_others(connection: Connection, experiment: str, records: Sequence[TrialRecord]) -> None:
    """End the membership of trials that are none of these. The trials stay."""
    kept = {record.digest for record in records}
    query = select(_members.c.trial, _trials.c.digest).join(
        _trials, _trials.c.id == _members.c.trial
    )
    members = connection.execute(query.where(_members.c.experiment == experiment)).all()
    end_members(connection, experiment, [row.trial for row in members if row.digest not in kept])


def imported_results(
    connection: Connection, experiment: str
) -> dict[int, tuple[str, dict[str, float]]]:
    """Row id -> state and metrics of the experiment's trials that came with a table."""
    joined = select(_trials.c.id, _trials.c.state, _trials.c.metrics).join(
        _members, _trials.c.id == _members.c.trial
    )
    query = joined.where(_members.c.experiment == experiment, _trials.c.origin == "imported")
    return {row.id: (row.state, row.metrics) for row in connection.execute(query)}


def stored_places(connection: Connection, experiment: str) -> Counter[str]:
    """How many replicate numbers the imported configurations of an experiment take."""
    joined = select(_trials.c.identity, _members.c.replicate).join(
        _members, _trials.c.id == _members.c.trial
    )
    query = joined.where(_members.c.experiment == experiment, _trials.c.origin == "imported")
    taken = Counter[str]()
    for row in connection.execute(query):
        place = canonical_json(row.identity["columns"])
        taken[place] = max(taken[place], row.replicate + 1)
    return taken


def next_position(connection: Connection, experiment: str) -> int:
    """The position behind the experiment's last member."""
    last = select(func.max(_members.c.position)).where(_members.c.experiment == experiment)
    found = connection.scalar(last)
    return 0 if found is None else int(found) + 1


def end_members(connection: Connection, experiment: str, trials: Sequence[int]) -> None:
    """End the membership of these trials, by row id. The trials stay."""
    for begin in range(0, len(trials), CHUNK):
        leaving = _members.c.trial.in_(trials[begin : begin + CHUNK])
        connection.execute(delete(_members).where(_members.c.experiment == experiment, leaving))


def write_members(
    database: Database,
    connection: Connection,
    experiment: str,
    records: Sequence[TrialRecord],
    ids: Mapping[str, int],
    *,
    begin: int = 0,
) -> None:
    """The trials as members of the experiment, in this order, from this position on."""
    rows = [
        {
            "experiment": experiment,
            "trial": ids[record.digest],
            "position": position,
            "axes": record.axes,
            "replicate": record.replicate,
        }
        for position, record in enumerate(records, begin)
    ]
    database.upsert(connection, Memberships, rows, keys=("experiment", "trial"))


def write_next_member(
    database: Database, connection: Connection, experiment: str, record: TrialRecord, trial: int
) -> None:
    """The trial as the last member of the experiment; a member keeps its place and takes these
    axes.
    """
    place = (
        select(func.coalesce(func.max(_members.c.position), -1) + 1)
        .where(_members.c.experiment == experiment)
        .scalar_subquery()
    )
    row = {
        "experiment": experiment,
        "trial": trial,
        "position": place,
        "axes": record.axes,
        "replicate": record.replicate,
    }
    statement = database.kind.insert(_members).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["experiment", "trial"], set_={"axes": statement.excluded.axes}
        )
    )


def row_of(record: TrialRecord) -> dict[str, Any]:
    """The row of a trial that nobody has asked for."""
    return {
        "digest": record.digest,
        "identity": record.identity,
        "trial": record.trial,
        "seed": record.seed,
        "params": record.params,
        "steps": record.steps,
        "tokens": record.tokens,
        "exposures": record.exposures,
        "flops": float(record.flops),
        "origin": record.origin,
        "extra": record.extra,
        "state": "missing",
        "metrics": {},
    }
