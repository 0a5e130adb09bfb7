"""No password and no token is kept; a store that has some is cleaned when it is next written."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.store.conftest import record

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Started
from scalelab.core.secrets import FORMS
from scalelab.store import open_store, schema, sqlite
from scalelab.store.cleaning import forms_of
from scalelab.store.database import Database
from scalelab.store.patience import Away
from scalelab.store.schema import CLEAN

A = record(1)
PASSWORD, TOKEN = "hunter2hunter2", "sekrit0token"
PLACE = f"postgresql://ann:{PASSWORD}@db/lab"
REMOTE = f"https://bucket.example.org/runs?access_token={TOKEN}"
SPEC = {"name": "x", "execution": {"data": REMOTE}}


def fill(place: str) -> None:
    """A trial of whose store, data, error and artifacts the places have secrets in them."""
    with open_store(place, mode="write") as store:
        store.register("x", SPEC, [A])
        store.claim(A.digest, "me")
        environment = {"argv": ["scalelab", "run", "--store", PLACE]}
        attempt = store.begin(A.digest, Started({}), environment, "me")
        artifacts = {"model": f"sftp://ann:{PASSWORD}@host/model.pt", "note": "data:,a://b:c@d"}
        error = f"OperationalError: connection to {PLACE} failed"
        store.end(A.digest, attempt, Ended("failed", 3, 1.0, {}, error=error, artifacts=artifacts))


def files(place: str) -> bytes:
    """Every byte of the store's files."""
    return b"".join(path.read_bytes() for path in Path(place).parent.glob(f"{Path(place).name}*"))


def test_what_is_written_down_has_no_secrets(place: str) -> None:
    fill(place)
    with open_store(place, mode="read") as store:
        stored = store.trial(A.digest)
        assert stored.attempts[0].environment["argv"][-1] == "postgresql://ann:***@db/lab"
        assert stored.artifacts == {
            "model": "sftp://ann:***@host/model.pt",
            "note": "data:,a://b:c@d",
        }
        assert PASSWORD not in stored.attempts[0].error
    if "://" not in place:
        assert PASSWORD.encode() not in files(place)
        assert TOKEN.encode() not in files(place)


def plant(place: str, version: int) -> None:
    """Write the secrets as an older version did, in rows that stand and in one that was rewritten.

    SQLite may have been built to overwrite what is deleted, or not.
    """
    with open_store(place, mode="write") as store, store.database.writing() as connection:
        if "://" not in place:
            connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        for table, column, value in (
            ("environments", "data", f'{{"argv":["--store","{PLACE}"]}}'),
            ("attempts", "error", f"cannot reach {PLACE}\n" * 1000),
            ("attempts", "error", "cannot reach it"),
            ("artifacts", "place", f"sftp://ann:{PASSWORD}@host/model.pt"),
            ("experiments", "spec", f'{{"execution":{{"data":"{REMOTE}"}}}}'),
        ):
            statement = text(f"UPDATE {table} SET {column} = :value")
            connection.execute(statement, {"value": value})
        store.database.kind.stamp(connection, version)


def test_an_older_store_is_cleaned(place: str) -> None:
    fill(place)
    plant(place, CLEAN - 1)
    if "://" not in place:
        assert PASSWORD.encode() in files(place)
    with open_store(place, mode="read") as store:  # a page drawn of it has none either
        assert PASSWORD not in str(store.trial(A.digest))
    open_store(place, mode="write").close()
    with open_store(place, mode="read") as store, store.database.reading() as connection:
        rows = [
            str(row)
            for table in ("environments", "attempts", "artifacts", "experiments")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert len(rows) >= 4
    assert not [row for row in rows if PASSWORD in row or TOKEN in row]
    if "://" not in place:
        assert PASSWORD.encode() not in files(place)
        assert TOKEN.encode() not in files(place)


def plant_rewritten(place: str) -> None:
    """An older store whose rows have no secret, and whose free pages do."""
    fill(place)
    plant(place, CLEAN)
    with open_store(place, mode="write") as store, store.database.writing() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        for statement in (
            "UPDATE environments SET data = '{}'",
            "UPDATE artifacts SET place = ''",
            "UPDATE experiments SET spec = '{}'",
        ):
            connection.exec_driver_sql(statement)
        store.database.kind.stamp(connection, CLEAN - 1)
    assert PASSWORD.encode() in files(place)


def test_a_store_that_could_not_be_purged_is_purged_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(database: Database) -> None:
        raise UserError("the disk is full", cure="make room")

    place = str(tmp_path / "lab.db")
    plant_rewritten(place)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "purge", full)
        with pytest.raises(UserError, match="the disk is full"):
            open_store(place, mode="write")
    assert PASSWORD.encode() in files(place)
    open_store(place, mode="write").close()
    assert PASSWORD.encode() not in files(place)


def test_a_store_is_not_taken_for_clean_while_a_reader_keeps_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "lab.db")
    plant_rewritten(place)
    monkeypatch.setattr(sqlite, "BUSY_S", 0.1)
    with closing(sqlite3.connect(place, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trials").fetchone()
        with pytest.raises(Away, match="another process reads it"):
            open_store(place, mode="write")
        reader.execute("COMMIT")
        assert reader.execute("PRAGMA user_version").fetchone() == (CLEAN - 1,)
    open_store(place, mode="write").close()
    assert PASSWORD.encode() not in files(place)


def test_a_store_is_cleaned_again_once_more_forms_are_known(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[str] = []
    clean = schema.clean

    def note(database: Database) -> None:
        cleaned.append(database.kind.name)
        clean(database)

    monkeypatch.setattr(schema, "clean", note)
    fill(place)
    plant(place, schema.VERSION)
    open_store(place, mode="write").close()
    assert cleaned == [], "of the forms that are known it was cleaned"
    for forms in (FORMS + 1, FORMS + 2):
        monkeypatch.setattr(schema, "FORMS", forms)
        for _ in range(2):
            open_store(place, mode="write").close()
    assert len(cleaned) == 2
    with open_store(place, mode="read") as store, store.database.reading() as connection:
        errors = connection.execute(text("SELECT error FROM attempts")).scalars().all()
        assert [PASSWORD in error for error in errors] == [False]
    if "://" not in place:
        assert PASSWORD.encode() not in files(place)


def test_a_store_that_does_not_say_of_what_it_was_cleaned_is_cleaned(place: str) -> None:
    fill(place)
    plant(place, schema.VERSION)
    with open_store(place, mode="write") as store, store.database.writing() as connection:
        connection.execute(text("DROP TABLE properties"))
    open_store(place, mode="write").close()
    with open_store(place, mode="read") as store, store.database.reading() as connection:
        places = connection.execute(text("SELECT place FROM artifacts")).scalars().all()
        assert not [place for place in places if PASSWORD in place]
        assert forms_of(connection) == FORMS
