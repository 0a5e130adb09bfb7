"""What a store answers.

Every answer is read in one transaction, so it shows one state of the store.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError, nearest
from scalelab.core.events import State
from scalelab.plan.cost import Speed
from scalelab.store.database import Database, table_of
from scalelab.store.fits import StoredFit, read_fits
from scalelab.store.owners import is_gone
from scalelab.store.patience import patient
from scalelab.store.records import (
    Attempt,
    Result,
    StoredExperiment,
    StoredTrial,
    TrialDetails,
    TrialRecord,
)
from scalelab.store.registering import CHUNK
from scalelab.store.sources import read_other_source
from scalelab.store.tables import (
    Artifacts,
    Attempts,
    Claims,
    Environments,
    Experiments,
    Memberships,
    Trials,
)

_trials, _claims, _members = table_of(Trials), table_of(Claims), table_of(Memberships)
_attempts, _environments, _experiments, _artifacts = (
    table_of(Attempts),
    table_of(Environments),
    table_of(Experiments),
    table_of(Artifacts),
)

CLAIM = (_claims.c.until, _claims.c.owner)
CLAIMED = _trials.outerjoin(_claims, _claims.c.trial == _trials.c.id)
"""Trials with the claims on them, and the columns of a claim."""


class Reader:
    """The questions that one may ask a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.database, self.clock = database, clock

    def states(self, digests: Sequence[str]) -> dict[str, State]:
        """The state of each digest; `missing` where the store does not know it, or where nobody has
        asked for it yet.

        `running` means that somebody holds a live claim: a trial whose driver was killed is
        `queued` again.
        """
        found: dict[str, State] = dict.fromkeys(digests, "missing")
        query = select(_trials.c.digest, _trials.c.state, *CLAIM).select_from(CLAIMED)
        for row in self._each(query, digests):
            found[row.digest] = self.state_of(row)
        return found

    @patient
    def results(self, digests: Sequence[str]) -> dict[str, Result]:
        """State, last metrics, seconds and step of each digest; `missing` and empty where the store
        does not know it.
        """
        found = {digest: Result("missing") for digest in digests}
        columns = (
            _trials.c.digest,
            _trials.c.state,
            _trials.c.metrics,
            _trials.c.seconds,
            _trials.c.step,
            *CLAIM,
        )
        for row in self._each(select(*columns).select_from(CLAIMED), digests):
            found[row.digest] = self._result(row)
        return found

    def find(self, prefix: str) -> str:
        """The one digest that begins with `prefix`.

        Raises UserError where there is none, or more than one.
        """
        wanted = prefix.strip().lower()
        query = (
            select(_trials.c.digest)
            .where(_trials.c.digest.startswith(wanted, autoescape=True))
            .order_by(_trials.c.digest)
            .limit(3)
        )
        with self.database.reading() as connection:
            found = list(connection.scalars(query))
        if not wanted or not found:
            raise UserError(
                f"no trial begins with `{prefix}`",
                cure="see `scalelab ls` for digests",
                where=self.database.kind.name,
            )
        if len(found) > 1 and wanted not in found:
            shown = ", ".join(digest[: max(SHORT, len(wanted) + 2)] for digest in found)
            what = f"`{prefix}` is the beginning of several trials: {shown}"
            raise UserError(what, cure="give more digits", where=self.database.kind.name)
        return found[0]

    @patient
    def artifact(self, digest: str, name: str) -> str | None:
        """An artifact of a trial; None where it, or the trial, is unknown."""
        query = select(_artifacts.c.place).join(_trials, _trials.c.id == _artifacts.c.trial)
        with self.database.reading() as connection:
            return connection.scalar(
                query.where(_trials.c.digest == digest, _artifacts.c.name == name)
            )

    @patient
    def trial(self, digest: str) -> TrialDetails:
        """Everything about one trial, by its full digest.

        Raises UserError where the store does not know it.
        """
        with self.database.reading() as connection:
            row = connection.execute(
                select(_trials, *CLAIM).select_from(CLAIMED).where(_trials.c.digest == digest)
            ).first()
            if row is None:
                raise UserError(
                    f"no trial `{digest}`",
                    cure="see `scalelab ls` for digests",
                    where=self.database.kind.name,
                )
            members = connection.execute(
                select(_members).where(_members.c.trial == row.id).order_by(_members.c.experiment)
            ).all()
            artifacts = connection.execute(
                select(_artifacts.c.name, _artifacts.c.place).where(_artifacts.c.trial == row.id)
            ).all()
            attempts = _attempts_of(connection, row.id)
            first = select(_experiments.c.spec).where(
                _experiments.c.name == (members[0].experiment if members else None)
            )
            spec = connection.scalar(first)
        record = record_of(
            row, members[0].axes if members else {}, members[0].replicate if members else 0
        )
        experiments = [member.experiment for member in members]
        return TrialDetails(
            record,
            self._result(row),
            experiments,
            attempts,
            {artifact.name: artifact.place for artifact in artifacts},
            spec or {},
        )

    def experiments(self) -> list[StoredExperiment]:
        """Every experiment, the newest last, with the number of its trials in each state."""
        counted: dict[str, Counter[State]] = {}
        with self.database.reading() as connection:
            rows = connection.execute(
                select(_experiments).order_by(_experiments.c.created, _experiments.c.name)
            ).all()
            query = select(_members.c.experiment, _trials.c.state, *CLAIM)
            for row in connection.execute(
                query.select_from(CLAIMED.join(_members, _members.c.trial == _trials.c.id))
            ):
                counted.setdefault(row.experiment, Counter())[self.state_of(row)] += 1
        return [
            StoredExperiment(row.name, row.spec, row.created, dict(counted.get(row.name, {})))
            for row in rows
        ]

    @patient
    def members(self, experiment: str) -> list[StoredTrial]:
        """The trials of an experiment in the order of its plan.

        Raises UserError where the store does not know it.
        """
        self.known([experiment])
        joined = CLAIMED.join(_members, _members.c.trial == _trials.c.id)
        query = select(_trials, *CLAIM, _members.c.axes, _members.c.replicate).select_from(joined)
        with self.database.reading() as connection:
            rows = connection.execute(
                query.where(_members.c.experiment == experiment).order_by(
                    _members.c.position, _trials.c.id
                )
            ).all()
        return [
            StoredTrial(record_of(row, row.axes, row.replicate), self._result(row)) for row in rows
        ]

    @patient
    def has(self, experiment: str) -> bool:
        """Whether the store knows an experiment."""
        with self.database.reading() as connection:
            return (
                connection.scalar(
                    select(_experiments.c.name).where(_experiments.c.name == experiment)
                )
                is not None
            )

    @patient
    def other_source(
        self, experiment: str, file: str | Path, spec: Mapping[str, Any]
    ) -> str | None:
        """The spec file that an experiment comes from, where that is another one than `file` (see
        `scalelab.store.sources`); None where the store does not know it.
        """
        with self.database.reading() as connection:
            return read_other_source(self.database, connection, experiment, file, spec)

    def known(self, experiments: Sequence[str]) -> list[str]:
        """The same names. Raises UserError for one that the store does not know."""
        with self.database.reading() as connection:
            names = list(connection.scalars(select(_experiments.c.name)))
        for name in experiments:
            if name not in names:
                cure = nearest(name, names) if names else "run or import one first"
                raise UserError(
                    f"the store has no experiment `{name}`",
                    cure=cure,
                    where=self.database.kind.name,
                )
        return list(experiments)

    def speeds(self, limit: int = 200) -> list[Speed]:
        """What the last finished attempts reached, their evaluations counted in."""
        known = (_trials.c.params, _trials.c.flops, _trials.c.steps, _trials.c.metrics)
        query = select(*known, _attempts.c.step, _attempts.c.resumed, _attempts.c.seconds)
        query = query.join(_attempts, _attempts.c.trial == _trials.c.id)
        query = query.where(
            _attempts.c.state.in_(("done", "stopped")),
            _attempts.c.seconds > 0,
            _attempts.c.step > _attempts.c.resumed,
        )
        with self.database.reading() as connection:
            rows = connection.execute(
                query.where(_trials.c.steps > 0).order_by(_attempts.c.id.desc()).limit(limit)
            ).all()
        return [
            Speed(row.params["total"], _spent(row) * (1 - row.resumed / row.step) / row.seconds)
            for row in rows
        ]

    def environments(self) -> dict[str, dict[str, Any]]:
        """Code, packages and machine of every attempt, by the digest of them."""
        with self.database.reading() as connection:
            return {row.digest: row.data for row in connection.execute(select(_environments))}

    def fits(self, experiments: Sequence[str] | None = None) -> list[StoredFit]:
        """The fits that are kept of these experiments (of all, where none is named), the newest
        last. Raises UserError.
        """
        names = None if experiments is None else self.known(experiments)
        with self.database.reading() as connection:
            return read_fits(self.database, connection, names)

    def state_of(self, row: Row[*tuple[Any, ...]]) -> State:
        """The state that a row of trials and claims tells."""
        if row.state == "running" and (
            row.until is None or row.until < self.clock() or is_gone(row.owner)
        ):
            return "queued"
        return row.state

    def _each(
        self, query: Select[*tuple[Any, ...]], digests: Sequence[str]
    ) -> Iterator[Row[*tuple[Any, ...]]]:
        with self.database.reading() as connection:
            for begin in range(0, len(digests), CHUNK):
                yield from connection.execute(
                    query.where(_trials.c.digest.in_(digests[begin : begin + CHUNK]))
                )

    def _result(self, row: Row[*tuple[Any, ...]]) -> Result:
        return Result(self.state_of(row), row.metrics, row.seconds, row.step)


def record_of(row: Row[*tuple[Any, ...]], axes: dict[str, Any], replicate: int) -> TrialRecord:
    """A row of trials as a record, with what its membership says of it."""
    return TrialRecord(
        digest=row.digest,
        identity=row.identity,
        trial=row.trial,
        axes=axes,
        replicate=replicate,
        seed=row.seed,
        params=row.params,
        steps=row.steps,
        tokens=row.tokens,
        exposures=row.exposures,
        flops=round(row.flops),
        origin=row.origin,
        extra=row.extra,
    )


def _spent(row: Row[*tuple[Any, ...]]) -> float:
    """FLOPs of a trial up to its last step: as metered, else by its share of the plan's."""
    return row.metrics.get("flops") or row.flops * row.step / row.steps


def _attempts_of(connection: Connection, trial: int) -> list[Attempt]:
    query = (
        select(_attempts, _environments.c.data)
        .join(_environments)
        .where(_attempts.c.trial == trial)
        .order_by(_attempts.c.id)
    )
    return [
        Attempt(
            key=row.key,
            owner=row.owner,
            state=row.state,
            started=row.started,
            ended=row.ended,
            resumed=row.resumed,
            step=row.step,
            seconds=row.seconds,
            numerics=row.numerics,
            environment=row.data,
            error=row.error,
        )
        for row in connection.execute(query)
    ]
