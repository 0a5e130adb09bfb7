"""From which spec file an experiment comes, so that another spec of the same name is noticed.

Beside a store that is a file, paths are kept from its folder on: a checkout that is moved or copied
with its store is the same one. On a server they are kept whole. A merge does not bring them: they
are those of another machine.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from scalelab.core.secrets import masked_all
from scalelab.store.database import Database, table_of
from scalelab.store.tables import Experiments, Sources

SINCE = 3
"""The schema version that has the table: an older store is read without it."""

_sources, _experiments = table_of(Sources), table_of(Experiments)


def kind_of_spec(spec: Mapping[str, Any]) -> str:
    """What sort of experiment it is: those of two kinds are not mixed."""
    return (
        "an imported table"
        if "imported" in spec
        else "a search over a space"
        if "objectives" in spec
        else "the runs of a plan"
    )


def write_source(
    database: Database, connection: Connection, experiment: str, file: str | Path, *, is_same: bool
) -> None:
    """Write down the spec file that an experiment is written from.

    Where the spec `is_same` as before, the file that it came from stays its source for as long as
    it exists: a copy that is run before it is edited must not pass for the original.
    """
    if is_same:
        query = select(_sources.c.path).where(_sources.c.experiment == experiment)
        before = connection.scalar(query)
        if before is not None and _existing(database, before) is not None:
            return
    row = {"experiment": experiment, "path": _kept(database, file)}
    database.upsert(connection, Sources, [row], keys=("experiment",))


def read_other_source(
    database: Database,
    connection: Connection,
    experiment: str,
    file: str | Path,
    spec: Mapping[str, Any],
) -> str | None:
    """The spec file that the experiment was last written from, where that is another one.

    None where nobody knows it, where the spec is the same or of another kind, and where the file is
    no longer there: then it was moved or renamed. Of a server's paths nobody can tell: they may be
    those of another machine.
    """
    if database.kind.version(connection) < SINCE:
        return None
    query = select(_sources.c.path, _experiments.c.spec).join(_experiments)
    row = connection.execute(query.where(_sources.c.experiment == experiment)).first()
    if row is None or row.path == _kept(database, file) or row.spec == masked_all(spec):
        return None
    if kind_of_spec(row.spec) != kind_of_spec(spec):
        return None  # which is refused whatever the file is
    return _existing(database, row.path)


def _existing(database: Database, kept: str) -> str | None:
    """The file of a kept path; None where it is no longer there.

    Of a server's paths nobody can tell, and they count as there.
    """
    folder = database.kind.folder
    if folder is None:
        return kept
    file = os.path.normpath(folder.resolve() / kept)
    return file if Path(file).exists() else None


def _kept(database: Database, file: str | Path) -> str:
    path, folder = Path(file).resolve(), database.kind.folder
    return str(path) if folder is None else os.path.relpath(path, folder.resolve())
