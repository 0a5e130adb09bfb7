"""A store on a PostgreSQL server, for a team: in a schema of its own, and everything else that is
special to PostgreSQL.
"""

import os
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    cast,
    create_engine,
    event,
    func,
    make_url,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from scalelab.core.errors import UserError
from scalelab.core.secrets import without_masks
from scalelab.store.database import Mode, Point
from scalelab.store.patience import Away, Lost

SCHEMA = "scalelab"
_LOCK = 0x5CA1E1AB
GONE = ("42P01", "3F000", "3D000")
"""SQLSTATEs of a table, a schema or a database that does not exist."""

LOCKED = "55P03"
"""SQLSTATE of a statement that has waited too long for a lock."""

FOREIGN_KEY = "23503"
"""SQLSTATE of a row that refers to one that is not there."""

CONNECT_S = 10
"""How long the server may take to let a client in, where neither the URL nor $PGCONNECT_TIMEOUT
sets it.
"""

ANSWER_S = 30.0
"""How long it may be silent during a run before its connection is given up."""

NETWORK: dict[str, int] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Options of libpq (s, s, number, ms), where the URL doesn't set them: a network that drops every
packet breaks a connection within half a minute, not after the system's two hours.
"""

LOCK_S, TRY_S = 30.0, 1.0
"""How long a statement waits for the lock of another process, and how long where it is tried
again.
"""


class Postgres:
    """A PostgreSQL database as the place of a store."""

    errors: tuple[type[Exception], ...] = ()
    reading: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ"}
    writing: Mapping[str, Any] = {"isolation_level": "READ COMMITTED"}

    folder: Path | None = None
    is_patient = False
    _watched: tuple[int, int, bool] | None = None
    """The oids of the table of trials and of its database, and that the mark is there."""
    _mark = ""

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(without_masks(url)).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError) as error:
            # What stands before the @ may be a password.
            place = url.rpartition("@")[2]
            raise UserError(
                f"`{place}` is no database URL", cure="write it as postgresql://user@host/database"
            ) from error
        self.name = self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    def engine(self, mode: Mode) -> Engine:
        """Raises UserError where the driver cannot be imported."""
        options = {**NETWORK, "connect_timeout": CONNECT_S}
        options = {name: value for name, value in options.items() if name not in self.url.query}
        if "PGCONNECT_TIMEOUT" in os.environ:
            options.pop("connect_timeout", None)
        try:
            engine = create_engine(self.url, pool_pre_ping=True, connect_args=options)
        except ImportError as error:  # not installed, or without the libpq that it needs
            raise self._fault(
                "needs the PostgreSQL driver", 'install it with `pip install "scalelab[postgres]"`'
            ) from error

        connect = _connector(lambda: None if self._watched is None else ANSWER_S)

        @event.listens_for(engine, "do_connect")
        def _connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
            return connect(*arguments, **options)

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, record: Any) -> None:
            settings = {
                "search_path": SCHEMA,
                "lock_timeout": f"{1000 * (TRY_S if self.is_patient else LOCK_S):.0f}",
                "default_transaction_read_only": "on" if mode == "read" else "off",
            }
            if self.is_patient:
                # The locks of a client that is cut off go with its transaction, here too.
                settings["idle_in_transaction_session_timeout"] = f"{1000 * ANSWER_S:.0f}"
            connection.execute(";".join(f"SET {name} TO {to}" for name, to in settings.items()))
            connection.commit()

        return engine

    def settle(self, engine: Engine) -> None:
        """Make the schema. Two that begin at once make it in turn."""
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if connection.exec_driver_sql(f"SELECT to_regnamespace('{SCHEMA}')").scalar() is None:
                connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")

    def purge(self, engine: Engine) -> None:
        """Write the tables anew, without what was in deleted rows. The server's own log keeps them
        until it is recycled.
        """
        with engine.connect() as connection:
            free = connection.execution_options(isolation_level="AUTOCOMMIT")
            free.exec_driver_sql("VACUUM (FULL) experiments, environments, attempts, artifacts")

    def watch(self, engine: Engine, mark: str) -> None:
        """Note which tables they are: others may get the same names, or the same tables other
        rows.
        """
        engine.dispose()  # connections from before the run wait longer for locks
        self._mark = mark
        self._watched = self._found(engine)

    def check(self, engine: Engine) -> None:
        """Asks for the oids of one of the tables and of the database, and for the mark."""
        if self._found(engine) != self._watched and self._watched is not None:
            raise self._replaced()

    def copy(self, engine: Engine, path: Path) -> bool:
        """Tables that were dropped can't be read."""
        return False

    def abandon(self) -> None:
        """Nothing waits."""

    def version(self, connection: Connection) -> int:
        """The one row of the table `version`.

        Holds a lock to the end of a transaction that writes.
        """
        if connection.get_execution_options()["isolation_level"] == self.writing["isolation_level"]:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        if connection.exec_driver_sql(f"SELECT to_regclass('{SCHEMA}.version')").scalar() is None:
            return 0
        return int(connection.exec_driver_sql("SELECT number FROM version").scalar_one())

    def stamp(self, connection: Connection, version: int) -> None:
        """Write the one row of the table `version`."""
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL)")
        connection.exec_driver_sql("DELETE FROM version")
        connection.exec_driver_sql(f"INSERT INTO version VALUES ({version})")

    def insert(self, table: Table) -> Any:
        """PostgreSQL's INSERT."""
        return insert(table)

    def text_at(self, column: ColumnElement[Any], path: str) -> ColumnElement[str]:
        """PostgreSQL wants to be told that the text is JSON."""
        return func.json_extract_path_text(cast(type_coerce(column, Text), JSON), *path.split("."))

    def write_metrics(self, connection: Connection, rows: Sequence[Point]) -> None:
        """One statement with a column in each value: thousands of rows in one round trip."""
        if rows:
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            connection.exec_driver_sql(
                "INSERT INTO metrics (trial, name, step, value)"
                " SELECT * FROM unnest(%s::integer[], %s::text[], %s::bigint[], %s::float8[])"
                " ON CONFLICT (trial, name, step) DO UPDATE SET value = excluded.value",
                columns,
            )

    def explain(self, error: Exception) -> UserError | None:
        """By SQLSTATE; a connection that fails has none."""
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        if state.startswith("53"):
            return self._fault(
                "the server has no room left",
                "make room and run the same command again: nothing that was finished is lost",
            )
        if state == LOCKED:
            cure = "end that process, or wait for it"
            return Away("another process holds it", cure=cure, where=self.name)
        if state in GONE:
            return self._lost()
        # The rows that a run refers to were there when it began.
        if self._watched is not None and state == FOREIGN_KEY:
            return self._replaced()
        if state in ("25006", "42501"):
            return self._fault(
                "is read-only for this user",
                "ls, show and report work on it; to run, ask for the right to write",
            )
        # Before any statement an error is one of connecting: an option of the URL, for instance.
        connecting = isinstance(error, DBAPIError) and error.statement is None and not state
        if isinstance(error, OperationalError) or connecting:
            lines = str(getattr(error, "orig", None)).strip().splitlines()
            why = [line for line in lines if not line.startswith("\t")][-1]  # \t: libpq's advice
            what, cure = f"cannot be reached: {why}", "check the URL, the server and your password"
            if "no password supplied" in why:
                cure = "set PGPASSWORD, or write a line for it into ~/.pgpass"
            # The server answers, and will answer the same: libpq has no code for it.
            if self._watched is not None and re.search(r'database ".*" does not exist', why):
                return Lost("the database is gone", where=self.name)
            is_misnamed = self._watched is None and re.search(r"(resolve|translate) host", why)
            if is_misnamed or re.search(r'password|role "', why):
                return self._fault(what, cure)
            return Away(what, cure=cure, where=self.name)
        return None

    def close(self) -> None:
        """Nothing to clear away."""

    def _found(self, engine: Engine) -> tuple[int, int, bool]:
        """The oids of the table of trials and of the database, and whether the mark is there.

        Raises Lost.
        """
        query = (
            f"SELECT to_regclass('{SCHEMA}.trials')::oid,"
            " (SELECT oid FROM pg_database WHERE datname = current_database()),"
            " EXISTS (SELECT FROM properties WHERE name = %s)"
        )
        with engine.connect() as connection:
            table, database, is_marked = connection.exec_driver_sql(query, (self._mark,)).one()
        if table is None:
            raise self._lost()
        return int(table), int(database), bool(is_marked)

    def _lost(self) -> Lost:
        return Lost("its tables are gone", where=self.name)

    def _replaced(self) -> Lost:
        return Lost("its tables were replaced by others during the run", where=self.name)

    def _fault(self, what: str, cure: str) -> UserError:
        return UserError(what, cure=cure, where=self.name)


def _connector(limit: Callable[[], float | None]) -> Callable[..., Any]:
    """What connects as psycopg does, and gives a connection up on which the server is silent for
    longer than `limit()` seconds; None is no limit.

    TCP's own limits miss a server that is frozen, or gone behind a proxy that is not.
    """
    import psycopg

    class Answered(psycopg.Connection[Any]):
        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            limit_s = limit()
            try:
                within = gen if limit_s is None else _within(gen, limit_s)
                return super().wait(within, *arguments, **options)
            except TimeoutError as error:
                self.close()
                raise psycopg.OperationalError(str(error)) from error

    return Answered.connect


def _within(work: Generator[Any, Any, Any], limit_s: float) -> Generator[Any, Any, Any]:
    """The generator of psycopg's as one that raises TimeoutError once it has waited for too long;
    psycopg resumes it several times a second, with nothing where nothing has come.
    """
    try:
        waits_for, since = next(work), time.monotonic()
        while True:
            ready = yield waits_for
            now = time.monotonic()
            since = now if ready else since
            if now - since > limit_s:
                raise TimeoutError(f"it has not answered for {limit_s:g} seconds")
            waits_for = work.send(ready)
    except StopIteration as done:
        return done.value
