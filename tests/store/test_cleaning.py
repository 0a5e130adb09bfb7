"""No password and no token is kept; a store that has some is cleaned when it is next written."""

from pathlib import Path

from sqlalchemy import text
from tests.store.conftest import record

from scalelab.core.events import Ended, Started
from scalelab.store import open_store
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
    """Write the secrets as an older version did."""
    with open_store(place, mode="write") as store, store.database.writing() as connection:
        for table, column, value in (
            ("environments", "data", f'{{"argv":["--store","{PLACE}"]}}'),
            ("attempts", "error", f"cannot reach {PLACE}"),
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
