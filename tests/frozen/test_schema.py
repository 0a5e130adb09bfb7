"""The tables of a store as both kinds of database are told to make them; and a store of today's
schema, which a new one equals.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from tests.frozen.frozen import EXPECTED, HERE

from scalelab.store import open_store
from scalelab.store.tables import METADATA

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}


@pytest.mark.parametrize("name", DIALECTS)
def test_tables_are_made_by_the_same_statements(name: str, freeze: bool) -> None:
    text = ""
    for table in METADATA.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        for made in (CreateTable(table), *map(CreateIndex, indexes)):
            statement = str(made.compile(dialect=DIALECTS[name]))
            text += "\n".join(line.rstrip() for line in statement.strip().splitlines()) + ";\n"
    path = EXPECTED / f"{name}.sql"
    if freeze:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_a_new_store_has_the_tables_of_the_frozen_one(tmp_path: Path) -> None:
    with open_store(tmp_path / "new.db", mode="write"):
        pass
    assert _schema(tmp_path / "new.db") == _schema(HERE / "store.db")


def _schema(path: Path) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        made = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        version = store.execute("PRAGMA user_version").fetchall()
        return [*version, *store.execute(made).fetchall()]
