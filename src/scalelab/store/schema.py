"""Schema versions: a new store gets the newest, an older one is brought up to it when it is
written, a newer one is refused.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from scalelab.core.errors import UserError
from scalelab.core.secrets import FORMS
from scalelab.store.cleaning import CLEANED, clean, forms_of
from scalelab.store.database import Database, table_of
from scalelab.store.tables import Base, Fits, Properties, Sources

VERSION = 4

CLEAN = 4
"""Stores of this version and later were cleaned of passwords, of the forms that they say."""

READABLE = 1
"""The oldest version that can be read as it is: what has come since is empty there."""


MIGRATIONS: dict[int, Callable[[Connection], None]] = {
    1: lambda connection: table_of(Fits).create(connection),
    2: lambda connection: table_of(Sources).create(connection),
    3: lambda connection: None,  # the rows were cleaned before (see `store.cleaning`)
}
"""Version -> what turns its tables into the next version's.

A change of `tables` raises VERSION and writes one here.
"""


def prepare(database: Database) -> None:
    """Make, migrate or accept the tables, in one transaction.

    Raises UserError, and then nothing is written.
    """
    with database.reading() as connection:
        found = database.kind.version(connection)
        refuse_newer(database, found)
        is_clean = found == 0 or (found >= CLEAN and forms_of(connection) >= FORMS)
    if not is_clean:
        clean(database)  # before that is written down: if it is stopped, it begins again
    database.settle()
    with database.writing() as connection:
        # Read again: another process may have been here in between.
        found = database.kind.version(connection)
        refuse_newer(database, found)
        if found == 0:
            Base.metadata.create_all(connection)
        for version in range(found or VERSION, VERSION):
            MIGRATIONS[version](connection)
        if found == 0 or not is_clean:
            table_of(Properties).create(connection, checkfirst=True)
            row = {"name": CLEANED, "value": str(FORMS)}
            database.upsert(connection, Properties, [row], keys=("name",))
        if found != VERSION:
            database.kind.stamp(connection, VERSION)


def check(database: Database) -> None:
    """Accept the tables for reading.

    Raises UserError where there are none, or of a version that is too old or too new.
    """
    with database.reading() as connection:
        found = database.kind.version(connection)
    refuse_newer(database, found)
    if found == 0:
        raise UserError(
            "is empty: there is no store in it",
            cure="fill it with `scalelab run SPEC`",
            where=database.kind.name,
        )
    if found < READABLE:
        cure = "`scalelab run` or `scalelab import` on it brings it up to date"
        raise UserError(
            f"has the older schema version {found}, and this scalelab reads {READABLE} and later",
            cure=cure,
            where=database.kind.name,
        )


def refuse_newer(database: Database, found: int) -> None:
    """Raises UserError for a store that a newer scalelab made."""
    if found > VERSION:
        what = (
            f"belongs to a newer scalelab: it has schema version {found}, and this one knows up to"
            f" {VERSION}"
        )
        raise UserError(
            what,
            cure="update scalelab, or name another store with --store",
            where=database.kind.name,
        )
