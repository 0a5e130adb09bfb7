"""A database behind a store: its transactions, with every fault that a user can mend as a sentence.

`Sqlite` and `Postgres` say what is special to each; all else is written once, for both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, select
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from scalelab.core.errors import UserError
from scalelab.store.owners import is_gone, new_owner
from scalelab.store.patience import Patience
from scalelab.store.tables import Properties

RUN = "run "
"""How the name of a property begins that is the mark of a run; the driver's name follows."""

Mode = Literal["write", "read"]

T = TypeVar("T")

Point = tuple[int, str, int, float | None]
"""A row of the table `metrics`: trial, name, step, value."""


def table_of(model: type[SQLModel]) -> Table:
    """The table that a class describes."""
    return model.metadata.tables[str(model.__tablename__)]


_properties = table_of(Properties)


class Kind(Protocol):
    """What is special to one kind of database."""

    name: str
    """The place as people may see it, without a password."""
    folder: Path | None
    """Where it lies, if it is a file."""
    errors: tuple[type[Exception], ...]
    """What the driver itself raises, where it is used without SQLAlchemy."""
    reading: Mapping[str, Any]
    """Connection options under which a transaction sees one state of the store from its begin to
    its end.
    """
    writing: Mapping[str, Any]
    """Connection options of a transaction that writes."""
    is_patient: bool
    """Whether what finds it away is done again: then one try waits for locks only briefly."""

    def engine(self, mode: Mode) -> Engine:
        """Connections to the place. Raises UserError where there can't be any."""
        ...

    def settle(self, engine: Engine) -> None:
        """Make what must stand before the tables can, outside of a transaction."""
        ...

    def purge(self, engine: Engine) -> None:
        """Leave nothing on the disk of rows that were deleted or overwritten."""
        ...

    def watch(self, engine: Engine, mark: str) -> None:
        """Note what the place is now, for `check`; `mark` is the name of a property that stands
        there from now on.
        """
        ...

    def check(self, engine: Engine) -> None:
        """Raises Lost where the place is no longer what it was when `watch` was called.

        Cheap, and needs no lock.
        """
        ...

    def copy(self, engine: Engine, path: Path) -> bool:
        """Write into an empty file, as a store, what open connections still see of a lost one;
        False where that is nothing.
        """
        ...

    def abandon(self) -> None:
        """Write nothing more into a lost place, not even when it is closed."""
        ...

    def version(self, connection: Connection) -> int:
        """The schema version that stands there; 0 where there is no store yet.

        Raises UserError in another program's database.
        """
        ...

    def stamp(self, connection: Connection, version: int) -> None:
        """Write the schema version down."""
        ...

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        ...

    def text_at(self, column: ColumnElement[Any], path: str) -> ColumnElement[str]:
        """What stands at a dotted path of a column of JSON text, as text."""
        ...

    def write_metrics(self, connection: Connection, rows: Sequence[Point]) -> None:
        """Upsert rows of the table `metrics`, each key once.

        The one place where SQLAlchemy is too slow.
        """
        ...

    def explain(self, error: Exception) -> UserError | None:
        """The error as a sentence with a cure, or None where it is a fault of this program."""
        ...

    def close(self) -> None:
        """Clear away what was made for reading."""
        ...


class Database:
    """One place with its transactions. Safe to share between threads."""

    def __init__(self, kind: Kind, mode: Mode, patience: Patience | None = None) -> None:
        """With `patience`, what is `patient` waits while the database is away."""
        self.kind, self.mode, self._patience = kind, mode, patience
        self._mark = f"{RUN}{new_owner()}"
        kind.is_patient = patience is not None
        with self._explained():
            self.engine = kind.engine(mode)

    def settle(self) -> None:
        """Make what must stand before the tables can. Raises UserError."""
        with self._explained():
            self.kind.settle(self.engine)

    def purge(self) -> None:
        """Leave nothing on the disk of rows that were deleted or overwritten. Raises UserError."""
        with self._explained():
            self.kind.purge(self.engine)

    @contextmanager
    def watched(self, patience: Patience) -> Iterator[None]:
        """For the time of a run: what is `patient` waits while the database is away, and `check`
        tells whether it is the same one: for that the run has a mark in it. Raises UserError.
        """
        before = self._patience
        self._patience, self.kind.is_patient = patience, True
        try:
            self.patiently(self._watch)
            yield
            # What stays is removed by the next run here.
            with suppress(UserError), self.writing() as connection:
                connection.execute(delete(_properties).where(_properties.c.name == self._mark))
        finally:
            self._patience, self.kind.is_patient = before, before is not None

    def patiently(self, action: Callable[[], T]) -> T:
        """Do what may be done twice; with patience, wait where the database is away."""
        return action() if self._patience is None else self._patience.through(action)

    def check(self) -> None:
        """Raises Lost where the store is no longer there, and UserError."""
        with self._explained():
            self.kind.check(self.engine)

    def copy(self, path: Path) -> bool:
        """Write into an empty file what can still be read of a lost store; False for nothing."""
        with self._explained():
            return self.kind.copy(self.engine, path)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the store. Raises UserError."""
        with self._explained(), self.engine.connect() as connection:
            yield connection.execution_options(**self.kind.reading)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it, or, with an exception, nothing.

        Raises UserError.
        """
        if self.mode == "read":
            raise UserError(
                "the store is opened for reading", cure="open it for writing", where=self.kind.name
            )
        with self._explained(), self.engine.connect() as plain:
            connection = plain.execution_options(**self.kind.writing)
            with connection.begin():
                yield connection

    def upsert(
        self,
        connection: Connection,
        model: type[SQLModel],
        rows: Sequence[Mapping[str, Any]],
        *,
        keys: Sequence[str],
    ) -> None:
        """Insert rows; where the key stands there already, its other columns take the
        new values.
        """
        if not rows:
            return
        statement = self.kind.insert(table_of(model))
        others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        connection.execute(
            statement.on_conflict_do_update(index_elements=list(keys), set_=others), list(rows)
        )

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()
        self.kind.close()

    def _watch(self) -> None:
        with self.writing() as connection:
            names = connection.scalars(
                select(_properties.c.name).where(_properties.c.name.startswith(RUN))
            )
            old = [name for name in names if is_gone(name.removeprefix(RUN))]
            connection.execute(delete(_properties).where(_properties.c.name.in_(old)))
            row = {"name": self._mark, "value": ""}
            self.upsert(connection, Properties, [row], keys=("name",))
        with self._explained():
            self.kind.watch(self.engine, self._mark)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, *self.kind.errors) as error:
            explained = self.kind.explain(error)
            if explained is None:
                raise
            raise explained from error
