"""Claims: at most one driver runs a trial. A claim is a lease: whoever stops renewing it, for
whatever reason, loses it.

The clocks of two machines may differ by hours, and a driver may be suspended for as long, so no
driver believes another one's time: a claim is free for others once they have watched it for a lease
of their own, on their own monotonic clock, and it was not renewed. `until` is for those who only
look, and a new value of it is how a renewal is seen. A driver that was killed on this machine is
known to be gone at once, and nobody waits for its leases.

A store that is locked may still be read: nobody can renew, and every claim stands still. Time in
which the watcher could not renew its own claims says nothing about those of others.

A driver that has lost its claim writes nothing more: the claim's owner, a name that no two drivers
share, is the fencing token of every write.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from scalelab.store.database import Database, table_of
from scalelab.store.owners import is_gone
from scalelab.store.pruning import HAS_RESULT
from scalelab.store.tables import Attempts, Claims, Trials

_claims, _trials, _attempts = table_of(Claims), table_of(Trials), table_of(Attempts)


class Watch:
    """What one process has seen of the claims of others, and for how long each stood still."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, tuple[str, float, float]] = {}
        self._renewed: float | None = None

    def renewed(self, lease_s: float) -> None:
        """The watcher's own claims were renewed: the store can be written."""
        self._forget_outage(lease_s)
        self._renewed = self._clock()

    def is_idle(self, trial: int, owner: str, until: float, lease_s: float) -> bool:
        """Whether the claim has not been renewed for a lease, as far as was watched."""
        # Also here: the first write after an outage may be that of a driver which wants the claim.
        self._forget_outage(lease_s)
        now, before = self._clock(), self._seen.get(trial)
        if before is None or before[:2] != (owner, until):
            before = self._seen[trial] = (owner, until, now)
        return now - before[2] >= lease_s

    def _forget_outage(self, lease_s: float) -> None:
        """Watch every claim anew where the watcher's own last renewal is too long ago."""
        if self._renewed is not None and self._clock() - self._renewed > lease_s / 2:
            self._seen.clear()


class Taken(Exception):
    """The trial is somebody else's, or has its result; what was tried is undone."""


def take(
    database: Database,
    digest: str,
    owner: str,
    watch: Watch,
    *,
    now: float,
    lease_s: float,
    retry: bool,
) -> bool:
    """Claim a trial for `owner`, or say no: it is claimed by another, unknown, finished, or failed
    and not to be retried.

    A trial that was `missing` is `queued` from now on, whatever becomes of the claim. One that a
    search ended early is open.
    """
    with database.writing() as connection:
        trial = connection.scalar(select(_trials.c.id).where(_trials.c.digest == digest))
        return trial is not None and take_known(
            database, connection, trial, owner, watch, now=now, lease_s=lease_s, retry=retry
        )


def take_known(
    database: Database,
    connection: Connection,
    trial: int,
    owner: str,
    watch: Watch,
    *,
    now: float,
    lease_s: float,
    retry: bool,
) -> bool:
    """`take` as a part of its caller's transaction, by the trial's row."""
    closed = HAS_RESULT if retry else or_(HAS_RESULT, _trials.c.state == "failed")
    try:
        with connection.begin_nested():
            if not lease(database, connection, trial, owner, watch, now=now, lease_s=lease_s):
                raise Taken
            # Only now: whoever had the claim a moment ago may have given it back with a result.
            if (
                connection.scalar(select(_trials.c.id).where(_trials.c.id == trial, closed))
                is not None
            ):
                raise Taken
    except Taken:
        return False
    connection.execute(
        update(_trials)
        .where(_trials.c.id == trial, _trials.c.state == "missing")
        .values(state="queued")
    )
    return True


def take_new(connection: Connection, trial: int, owner: str, *, until: float) -> None:
    """Claim a trial that the same transaction has made, as `queued`: nobody else knows it."""
    connection.execute(insert(_claims).values(trial=trial, owner=owner, until=until))


def lease(
    database: Database,
    connection: Connection,
    trial: int,
    owner: str,
    watch: Watch,
    *,
    now: float,
    lease_s: float,
) -> bool:
    """Take or renew the claim on a trial, where it is free, idle, or the owner's own."""
    until = now + lease_s
    mine = _claims.c.owner == owner
    if _leased(database, connection, trial, owner, until=until, is_free=mine):
        return True
    query = select(_claims.c.owner, _claims.c.until).where(_claims.c.trial == trial)
    holder = connection.execute(query).first()
    if holder is None or not _is_free(trial, holder.owner, holder.until, watch, lease_s):
        return False
    same = and_(_claims.c.owner == holder.owner, _claims.c.until == holder.until)
    return _leased(database, connection, trial, owner, until=until, is_free=same)


def free(
    connection: Connection, trials: Sequence[int], owner: str, watch: Watch, *, lease_s: float
) -> set[int]:
    """Those of the trials that the owner could claim now; the claims on the others are watched."""
    query = select(_claims.c.trial, _claims.c.owner, _claims.c.until)
    held = {
        row.trial
        for row in connection.execute(query.where(_claims.c.trial.in_(trials)))
        if row.owner != owner and not _is_free(row.trial, row.owner, row.until, watch, lease_s)
    }
    return set(trials) - held


def held(connection: Connection, attempts: Sequence[int]) -> set[int]:
    """Trials of those of the attempts whose owner has the claim still."""
    query = select(_claims.c.trial).join(
        _attempts,
        and_(_attempts.c.trial == _claims.c.trial, _attempts.c.owner == _claims.c.owner),
    )
    return set(connection.scalars(query.where(_attempts.c.id.in_(attempts))))


def _is_free(trial: int, owner: str, until: float, watch: Watch, lease_s: float) -> bool:
    return is_gone(owner) or watch.is_idle(trial, owner, until, lease_s)


def _leased(
    database: Database,
    connection: Connection,
    trial: int,
    owner: str,
    *,
    until: float,
    is_free: ColumnElement[bool],
) -> bool:
    statement = database.kind.insert(_claims).values(trial=trial, owner=owner, until=until)
    # One statement, so that the database itself decides between two that come at once.
    taken = {"owner": statement.excluded.owner, "until": statement.excluded.until}
    statement = statement.on_conflict_do_update(index_elements=["trial"], set_=taken, where=is_free)
    return connection.execute(statement.returning(_claims.c.trial)).first() is not None


def renew(connection: Connection, owner: str, *, until: float) -> None:
    """Every claim of the owner holds until then."""
    connection.execute(update(_claims).where(_claims.c.owner == owner).values(until=until))


def release(connection: Connection, owner: str, *, now: float) -> None:
    """Give every claim of the owner back; its open attempts are interrupted."""
    connection.execute(delete(_claims).where(_claims.c.owner == owner))
    is_open = (_attempts.c.owner == owner) & (_attempts.c.state == "running")
    ended: dict[str, Any] = {
        "state": "interrupted",
        "ended": now,
        "seconds": now - _attempts.c.started,
    }
    connection.execute(update(_attempts).where(is_open).values(**ended))


def give_back(connection: Connection, trial: int, attempt: int) -> None:
    """Drop the claim on a trial whose attempt ended, unless another owner has taken the
    trial over.
    """
    owner = select(_attempts.c.owner).where(_attempts.c.id == attempt).scalar_subquery()
    connection.execute(delete(_claims).where(_claims.c.trial == trial, _claims.c.owner == owner))
