"""Passwords out of a store that an older version wrote: it kept them in command lines, places and
errors.
"""

from sqlalchemy import Column, Connection, Table, Text, inspect, select, type_coerce, update

from scalelab.core.secrets import masked
from scalelab.store.database import Database, table_of
from scalelab.store.tables import METADATA, OpenJson, OpenText, Properties

CLEANED = "cleaned"
"""The property of a store that says of which forms of secrets it was cleaned."""

_properties = table_of(Properties)


def forms_of(connection: Connection) -> int:
    """The forms of secrets that a store was cleaned of, as `scalelab.core.secrets.FORMS` counts
    them; 0 where it does not say.
    """
    if not inspect(connection).has_table(_properties.name):
        return 0
    query = select(_properties.c.value).where(_properties.c.name == CLEANED)
    return int(connection.scalar(query) or 0)


def clean(database: Database) -> None:
    """Mask every password and token in the columns that are kept without them, and leave no copy on
    the disk, where rows that were rewritten long ago may have left one. Raises UserError.
    """
    columns = [
        (table, column)
        for table in METADATA.tables.values()
        for column in table.columns
        if isinstance(column.type, OpenJson | OpenText)
    ]
    with database.writing() as connection:
        for table, column in columns:
            _clean(connection, table, column)
    database.purge()


def _clean(connection: Connection, table: Table, column: Column) -> None:
    """Write the rows anew whose column has a secret in it."""
    keys = list(table.primary_key.columns)
    raw = type_coerce(column, Text).label("raw")
    for row in connection.execute(select(*keys, column.label("open"), raw)).all():
        if row.raw is None or masked(row.raw) == row.raw:
            continue
        this_row = [key == row._mapping[key.name] for key in keys]
        connection.execute(update(table).where(*this_row).values({column.name: row.open}))
