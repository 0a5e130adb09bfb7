"""The recorder: what a driver writes into a store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import Connection, and_, delete, func, insert, not_, select, update

from scalelab.core.canon import sha256
from scalelab.core.events import FINISHED, Ended, Measured, Started, is_pruned
from scalelab.store import claims
from scalelab.store.database import Database, table_of
from scalelab.store.fits import StoredFit, write_fit
from scalelab.store.patience import patient
from scalelab.store.pruning import HAS_RESULT
from scalelab.store.reader import Reader
from scalelab.store.records import TrialRecord
from scalelab.store.registering import (
    check_name,
    end_members,
    end_others,
    ids_of,
    insert_new,
    insert_one,
    write_experiment,
    write_members,
    write_next_member,
)
from scalelab.store.tables import Artifacts, Attempts, Environments, Metrics, Trials

BATCH_ROWS, BATCH_S = 2000, 0.5
"""Metric rows wait for each other until there are this many, or until the first has waited this
long.
"""

_trials, _attempts, _environments, _metrics = (
    table_of(Trials),
    table_of(Attempts),
    table_of(Environments),
    table_of(Metrics),
)

Row = tuple[int, str, int]
"""Trial, name, step."""


class Store(Reader):
    """An open store. Safe to share between threads; a context manager that flushes and closes."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        super().__init__(database, clock)
        self._lock = RLock()
        self._ids: dict[str, int] = {}
        self._pending: dict[Row, float] = {}
        self._since = 0.0
        self._current: dict[int, int] = {}
        self.watch = claims.Watch()
        """What was seen of the claims of others."""

    @patient
    def register(
        self,
        experiment: str,
        spec: dict[str, Any],
        trials: Sequence[TrialRecord],
        file: str | Path | None = None,
    ) -> None:
        """Write an experiment down with all its trials: new ones are `missing` until one claims
        them, known ones stay as they are.

        A trial may belong to many experiments: its axes and its replicate are kept with the
        membership. An experiment is what its spec says now: what is no longer among its trials
        leaves it, and stays in the store. `file` is where the spec lies. Raises UserError where the
        name is that of an imported table, or of a search's experiment.
        """
        with self._lock, self.database.writing() as connection:
            check_name(self.database, connection, experiment, spec)
            write_experiment(self.database, connection, experiment, spec, self.clock(), file)
            end_others(connection, experiment, trials)
            write_members(
                self.database, connection, experiment, trials, insert_new(connection, trials)
            )

    @patient
    def open_experiment(
        self,
        experiment: str,
        spec: dict[str, Any],
        leaving: Sequence[str] = (),
        file: str | Path | None = None,
    ) -> None:
        """Write down an experiment whose trials are found one by one (see `enlist`).

        Those that it has stay, but for the digests that are `leaving`, which stay in the store.

        `spec` has `objectives`: by these one knows such an experiment again. Raises UserError where
        the name is that of a plan's experiment, or of an imported table.
        """
        with self._lock, self.database.writing() as connection:
            check_name(self.database, connection, experiment, spec)
            write_experiment(self.database, connection, experiment, spec, self.clock(), file)
            end_members(connection, experiment, list(ids_of(connection, leaving).values()))

    @patient
    def enlist(
        self,
        experiment: str,
        record: TrialRecord,
        owner: str,
        lease_s: float = 60.0,
        *,
        retry: bool = False,
    ) -> bool:
        """Make a trial the experiment's next member, where it is none yet, and claim it (see
        `claim`), in one transaction.
        """
        with self._lock, self.database.writing() as connection:
            trial, is_new = insert_one(self.database, connection, record)
            write_next_member(self.database, connection, experiment, record, trial)
            if is_new:
                claims.take_new(connection, trial, owner, until=self.clock() + lease_s)
            elif not claims.take_known(
                self.database,
                connection,
                trial,
                owner,
                self.watch,
                now=self.clock(),
                lease_s=lease_s,
                retry=retry,
            ):
                return False
        self._ids[record.digest] = trial
        return True

    def attach(self, digest: str, name: str, place: str) -> None:
        """Add an artifact (a path or URL) to a trial, in the place of one with the same name."""
        row = {"trial": self._id(digest), "name": name, "place": place}
        with self._lock, self.database.writing() as connection:
            self.database.upsert(connection, Artifacts, [row], keys=("trial", "name"))

    @patient
    def claim(self, digest: str, owner: str, lease_s: float = 60.0, *, retry: bool = False) -> bool:
        """Take a trial, so that no other driver runs it; True also where it is the owner's already.

        False: another holds it, it has its result, it is unknown, or it failed and `retry` is not
        set. One that another holds is watched: once its claim has not been renewed for `lease_s`,
        it is free.
        """
        return claims.take(
            self.database, digest, owner, self.watch, now=self.clock(), lease_s=lease_s, retry=retry
        )

    def unclaimed(self, digests: Sequence[str], owner: str, lease_s: float = 60.0) -> list[str]:
        """Those of the trials on which no other driver has a claim that is being renewed."""
        with self.database.reading() as connection:
            ids = ids_of(connection, digests)
            free = claims.free(connection, list(ids.values()), owner, self.watch, lease_s=lease_s)
        return [digest for digest in digests if ids.get(digest) in free]

    def renew(self, owner: str, lease_s: float = 60.0) -> None:
        """The heartbeat: hold every claim of the owner for another lease.

        Waiting metric rows are written too.
        """
        with self._lock, self.database.writing() as connection:
            claims.renew(connection, owner, until=self.clock() + lease_s)
        self.watch.renewed(lease_s)
        self.flush()

    def release(self, owner: str) -> None:
        """Give every claim of the owner back: what it was running is queued again."""
        with self._lock, self.database.writing() as connection:
            claims.release(connection, owner, now=self.clock())

    def begin(
        self,
        digest: str,
        started: Started,
        environment: dict[str, Any],
        owner: str,
        lease_s: float = 60.0,
        *,
        key: str | None = None,
    ) -> int:
        """Write down that an attempt began; returns its id.

        The curve keeps what the attempt goes on from, and no more. An attempt with the same `key`
        is begun once, however often this is called. Raises Taken where another driver has the
        claim, and then nothing is written.
        """
        return self._begin(digest, key or uuid4().hex, started, environment, owner, lease_s)

    @patient
    def _begin(
        self,
        digest: str,
        key: str,
        started: Started,
        environment: dict[str, Any],
        owner: str,
        lease_s: float,
    ) -> int:
        trial, now = self._id(digest), self.clock()
        self.flush()  # What an earlier attempt left waiting goes first: the curve is cut after it.
        with self._lock, self.database.writing() as connection:
            begun = connection.scalar(select(_attempts.c.id).where(_attempts.c.key == key))
            if begun is not None:
                self._current[trial] = int(begun)
                return int(begun)
            if not claims.lease(
                self.database, connection, trial, owner, self.watch, now=now, lease_s=lease_s
            ):
                raise claims.Taken
            lost = and_(_attempts.c.trial == trial, _attempts.c.state == "running")
            connection.execute(update(_attempts).where(lost).values(state="lost"))
            # A finished trial keeps its result: an attempt that was overtaken by another driver
            # adds nothing to it.
            is_open = and_(_trials.c.id == trial, not_(HAS_RESULT))
            running = (
                update(_trials)
                .where(is_open)
                .values(state="running", metrics={}, seconds=None, step=started.resumed)
            )
            if connection.execute(running).rowcount:
                connection.execute(
                    delete(_metrics).where(
                        _metrics.c.trial == trial, _metrics.c.step > started.resumed
                    )
                )
            row = {
                "key": key,
                "trial": trial,
                "environment": self._environment(connection, environment),
                "owner": owner,
                "numerics": started.numerics,
                "state": "running",
                "started": now,
                "resumed": started.resumed,
                "error": "",
            }
            attempt = int(
                connection.execute(
                    insert(_attempts).values(row).returning(_attempts.c.id)
                ).scalar_one()
            )
            self._current[trial] = attempt
            return attempt

    @patient
    def measure(self, digest: str, attempt: int, measured: Measured) -> None:
        """Add a point of the trial's curves; it is written with others that come in the same half
        second.
        """
        trial, now = self._id(digest), self.clock()
        with self._lock:
            if self._current.setdefault(trial, attempt) != attempt:
                return  # Late news of an attempt that another one has replaced.
            self._since = self._since if self._pending else now
            self._pending |= {
                (trial, name, measured.step): value for name, value in measured.values.items()
            }
            if len(self._pending) >= BATCH_ROWS or now - self._since >= BATCH_S:
                self.flush()

    @patient
    def end(self, digest: str, attempt: int, ended: Ended) -> bool:
        """Write the trial's state, its last metrics and all that waits in one transaction: `done`
        means complete.

        False where the attempt's owner has lost its claim: then nothing of it is written.
        """
        trial = self._id(digest)
        with self._lock:
            self._current.setdefault(trial, attempt)
            with self.database.writing() as connection:
                if trial not in claims.held(connection, [attempt]):
                    self._pending = {
                        at: value for at, value in self._pending.items() if at[0] != trial
                    }
                    # It is written already where a connection broke after its COMMIT.
                    query = select(_attempts.c.state).where(_attempts.c.id == attempt)
                    return connection.scalar(query) == ended.state
                if not is_pruned(
                    ended.state, ended.values
                ):  # else they are its last measurement's, which the curve has
                    self._pending |= {
                        (trial, name, ended.step): value for name, value in ended.values.items()
                    }
                self._write_pending(connection)
                values = {
                    "state": ended.state,
                    "step": ended.step,
                    "seconds": ended.seconds,
                    "ended": self.clock(),
                    "error": ended.error,
                }
                connection.execute(
                    update(_attempts).where(_attempts.c.id == attempt).values(values)
                )
                self._finish(connection, trial, ended)
                places = [
                    {"trial": trial, "name": name, "place": place}
                    for name, place in ended.artifacts.items()
                ]
                self.database.upsert(connection, Artifacts, places, keys=("trial", "name"))
                claims.give_back(connection, trial, attempt)
            self._pending.clear()
        return True

    def keep_fit(self, fit: StoredFit) -> None:
        """Keep a fit with its draws; one with the same key is replaced.

        Its experiment must be in the store.
        """
        with self._lock, self.database.writing() as connection:
            write_fit(self.database, connection, fit)

    def flush(self) -> None:
        """Write the metric rows that wait.

        With a UserError (a full disk, say) they wait on, and none is lost.
        """
        with self._lock:
            if self._pending:
                with self.database.writing() as connection:
                    self._write_pending(connection)
                self._pending.clear()

    def abandon(self) -> None:
        """Drop what waits to be written: the store is lost, or stays away."""
        with self._lock:
            self._pending.clear()
            self.database.kind.abandon()

    def close(self) -> None:
        """Flush, and give the database back."""
        try:
            self.flush()
        finally:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_pending(self, connection: Connection) -> None:
        trials = {trial for trial, _, _ in self._pending}
        held = claims.held(connection, [self._current[trial] for trial in trials])
        # A NaN is NULL: SQLite has no other form for it. Of a trial whose claim was lost nothing
        # is written: another driver writes its curve now.
        self.database.kind.write_metrics(
            connection,
            [
                (*key, value if value == value else None)
                for key, value in self._pending.items()
                if key[0] in held
            ],
        )

    def _finish(self, connection: Connection, trial: int, ended: Ended) -> None:
        chain = (
            select(func.max(_attempts.c.id))
            .where(_attempts.c.trial == trial, _attempts.c.resumed == 0)
            .scalar_subquery()
        )
        seconds = select(func.sum(_attempts.c.seconds)).where(
            _attempts.c.trial == trial, _attempts.c.id >= func.coalesce(chain, 0)
        )
        values = {
            "state": ended.state,
            "step": ended.step,
            "metrics": ended.values,
            "seconds": seconds.scalar_subquery(),
        }
        finish = update(_trials).where(_trials.c.id == trial).values(values)
        # A result is never replaced by a failure, nor by what a search ended early.
        is_result = ended.state in FINISHED and not is_pruned(ended.state, ended.values)
        connection.execute(finish if is_result else finish.where(not_(HAS_RESULT)))

    def _environment(self, connection: Connection, environment: dict[str, Any]) -> int:
        digest = sha256(environment)
        known = select(_environments.c.id).where(_environments.c.digest == digest)
        found = connection.scalar(known)
        if found is None:
            statement = self.database.kind.insert(_environments).values(
                digest=digest, data=environment
            )
            connection.execute(statement.on_conflict_do_nothing(index_elements=["digest"]))
            found = connection.scalar(known)
        return int(found or 0)

    def _id(self, digest: str) -> int:
        if digest not in self._ids:
            with self.database.reading() as connection:
                found = connection.scalar(select(_trials.c.id).where(_trials.c.digest == digest))
            assert found is not None, f"trial {digest} is not registered"
            self._ids[digest] = found
        return self._ids[digest]
