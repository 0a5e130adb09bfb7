"""From a place, a path or a URL, to an open store."""

from collections.abc import Callable
from pathlib import Path

from scalelab.core.errors import UserError
from scalelab.core.locations import is_url
from scalelab.store import schema
from scalelab.store.database import Database, Kind, Mode
from scalelab.store.patience import Patience
from scalelab.store.postgres import Postgres
from scalelab.store.sqlite import Sqlite
from scalelab.store.store import Store


def open_at(
    where: str | Path,
    *,
    mode: Mode,
    clock: Callable[[], float],
    patience: Patience | None = None,
) -> Store:
    """Open, check and, to write, prepare the store; with `patience`, wait for it. Raises
    UserError.
    """
    if patience is None:
        return _opened(where, mode, clock, None)
    return patience.through(lambda: _opened(where, mode, clock, patience))


def _opened(
    where: str | Path, mode: Mode, clock: Callable[[], float], patience: Patience | None
) -> Store:
    database = Database(kind_of(where), mode, patience)
    try:
        schema.prepare(database) if mode == "write" else schema.check(database)
    except BaseException:
        database.close()
        raise
    return Store(database, clock)


def kind_of(where: str | Path) -> Kind:
    """The kind of database that a place names. Raises UserError."""
    if isinstance(where, Path) or not is_url(where):
        return Sqlite(Path(where))
    if where.startswith(("postgresql://", "postgres://")):
        return Postgres(where.replace("postgres://", "postgresql://", 1))
    raise UserError(
        f"`{where}` is no store",
        cure="name a file, or a database as postgresql://user@host/database",
    )
