"""Places for stores: SQLite files, and databases on a real PostgreSQL server that the tests start
for themselves.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest

from scalelab.core.canon import sha256
from scalelab.store import TrialRecord, open_store
from scalelab.store import merge as merging
from scalelab.store.claims import Watch
from scalelab.store.incoming import checked
from scalelab.store.merge import Merged
from scalelab.store.store import Store

NewPlace = Callable[[], str]


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else versions[-1].parent if versions else None


USER = "postgres" if os.geteuid() == 0 else None
"""The server refuses to run as root."""
INITIAL = ("-E", "UTF8", "--locale=C", "--no-sync")


def _run(folder: Path, program: str, *arguments: str | Path) -> None:
    binaries = _binaries()
    assert binaries is not None
    command = [binaries / program, *arguments]
    subprocess.run(command, user=USER, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def control(server: str | Path, action: Literal["start", "stop"]) -> None:
    """Start the server with this socket folder, or kill it."""
    folder = Path(server)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=40"
    how = ("-l", folder / "log", "-o", options) if action == "start" else ("-m", "immediate")
    _run(folder, "pg_ctl", "-D", folder / "data", "-w", *how, action)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own."""
    if _binaries() is None:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="no PostgreSQL driver here (pip install psycopg[binary])")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # sockets want a short path
    if USER is not None:
        shutil.chown(folder, USER)
    try:
        data = folder / "data"
        _run(folder, "initdb", "-D", data, "-A", "trust", "-U", "postgres", *INITIAL)
        control(folder, "start")
        yield str(folder)
        control(folder, "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def idle_databases() -> list[str]:
    """Names of databases that earlier tests have left empty: a new one costs more than to empty an
    old one.
    """
    return []


@pytest.fixture
def new_database(postgres_server: str, idle_databases: list[str]) -> Iterator[NewPlace]:
    """Makes empty databases on the server."""
    import psycopg

    used: list[str] = []

    def execute(database: str, statement: str) -> None:
        with psycopg.connect(
            f"host={postgres_server} user=postgres dbname={database}", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def created() -> str:
        name = f"test{uuid4().hex}"
        execute("postgres", f"CREATE DATABASE {name}")
        return name

    def make() -> str:
        name = idle_databases.pop() if idle_databases else created()
        used.append(name)
        return f"postgresql://postgres@/{name}?host={postgres_server}"

    yield make
    for name in used:
        execute(
            name,
            "DROP SCHEMA IF EXISTS scalelab CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA"
            " public",
        )
    idle_databases += used


@pytest.fixture(params=["sqlite", "postgres"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Makes places without a store, on the one kind of database and then on the other."""
    if request.param == "postgres":
        return request.getfixturevalue("new_database")
    numbers = count()
    return lambda: str(tmp_path / f"store{next(numbers)}.db")


@pytest.fixture
def place(new_place: NewPlace) -> str:
    """A place without a store."""
    return new_place()


@pytest.fixture
def clock() -> Clock:
    """The time, standing still."""
    return Clock()


@pytest.fixture
def store(place: str, clock: Clock) -> Iterator[Store]:
    """An empty store, open to write."""
    with open_store(place, mode="write", clock=clock) as opened:
        opened.watch = Watch(clock)
        yield opened


def merge(store: Store, where: str | Path) -> Merged:
    """Merge the store at a place into another one."""
    with open_store(where, mode="read") as other:
        return merging.merge(checked(other), store)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions mean nothing to root: be nobody for a while."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, nobody too."""
    folder = Path(tempfile.mkdtemp(prefix="scalelab-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def record(number: int, *, seed: int = 0, **axes: object) -> TrialRecord:
    """A trial of its own for each number and seed."""
    trial = {
        "task": {"kind": "facts", "people": number, "recall": "in_weight"},
        "model": {"width": 4, "ffn": {"width": 16}},
        "seed": seed,
    }
    return TrialRecord(
        digest=sha256(trial),
        identity=trial,
        trial=trial | {"optim": {"betas": [0.9, 0.95], "clip": None}},
        axes={"task.people": number} | axes,
        replicate=seed,
        seed=seed,
        params={"total": 1000 + number, "non_embedding": 500},
        steps=100,
        tokens=12_800,
        exposures=12.5,
        flops=2**70,
    )
