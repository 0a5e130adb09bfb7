"""A database that is away for a while: the run waits, and ends as if nothing had happened. Where it
stays away, the run stops with one sentence, and goes on later.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from tests.cli.conftest import Command
from tests.faults.work import breaking, content
from tests.run.conftest import GRID
from tests.store.conftest import NewPlace, control, merge, record

from scalelab.core.errors import UserError
from scalelab.core.signals import Signalled
from scalelab.plan.plan import Plan
from scalelab.run import desk, driver
from scalelab.run.driver import Options, drive
from scalelab.store import open_store, postgres, sqlite
from scalelab.store.patience import Patience
from scalelab.store.store import Store

MakePlan = Callable[..., Plan]
HASTY = f"{GRID}execution: {{patience: 0.4}}\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sqlite, "TRY_S", 0.05)
    monkeypatch.setattr(desk, "LEASE_S", 0.5)
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.05)


@pytest.fixture
def whole(make_plan: MakePlan, inline: Options) -> dict[str, Any]:
    """What an undisturbed run leaves."""
    with open_store("whole.db", mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(0, print))
        return content(store)


@pytest.fixture
def other() -> Iterator[sqlite3.Connection]:
    """Another program with a connection to lab.db."""
    open_store("lab.db", mode="write").close()
    with closing(sqlite3.connect("lab.db", isolation_level=None, check_same_thread=False)) as made:
        yield made


def attempts(store: Store) -> list[list[str]]:
    return [
        [attempt.state for attempt in store.trial(one.record.digest).attempts]
        for one in store.members("small")
    ]


def test_a_locked_file_is_waited_for(
    make_plan: MakePlan, inline: Options, whole: dict[str, Any], other: sqlite3.Connection
) -> None:
    def lock() -> None:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.6, lambda: other.execute("COMMIT")).start()

    with open_store("lab.db", mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(2, lock))
        assert content(store) == whole
        assert attempts(store) == [["done"]] * 4
    assert isinstance(inline.stream, StringIO)
    assert inline.stream.getvalue().count("the run waits for it, up to 10m") == 1


def test_a_file_that_stays_locked_stops_the_run_which_goes_on_later(
    make_plan: MakePlan, inline: Options, whole: dict[str, Any], other: sqlite3.Connection
) -> None:
    began = time.monotonic()
    worker = breaking(2, lambda: other.execute("BEGIN IMMEDIATE"))
    with (
        open_store("lab.db", mode="write") as store,
        pytest.raises(UserError, match="another process holds it, and the run has waited for 0"),
    ):
        drive(make_plan(HASTY), store, inline, worker=worker)
    assert 0.4 < time.monotonic() - began < 5
    other.execute("COMMIT")
    with open_store("lab.db", mode="write") as store:
        assert drive(make_plan(), store, inline, worker=breaking(0, print)).known == 1
        assert content(store) == whole


def test_what_a_run_found_while_its_store_was_locked_is_rescued(
    make_plan: MakePlan, inline: Options, whole: dict[str, Any], other: sqlite3.Connection
) -> None:
    worker = breaking(2, lambda: other.execute("BEGIN IMMEDIATE"))
    with (
        open_store("lab.db", mode="write") as store,
        pytest.raises(UserError, match=r"lab\.rescue"),
    ):
        drive(make_plan(HASTY), store, inline, worker=worker)
    other.execute("COMMIT")
    (rescue,) = Path().glob("lab.rescue-*.db")
    with open_store("lab.db", mode="write") as store:
        assert attempts(store)[:2] == [["done"], ["running"]]
        for imported in (1, 0):
            assert merge(store, rescue).imported == imported
            assert attempts(store) == [["done"], ["done"], [], []]
        assert drive(make_plan(), store, inline, worker=breaking(0, print)).known == 2
        assert content(store) == whole


def test_a_file_that_is_locked_at_the_start_is_waited_for(
    command: Command, other: sqlite3.Connection
) -> None:
    Path("spec.yaml").write_text(SPEC.replace("PATIENCE", "10m").replace("400", "4"))
    run = ("run", "spec.yaml", "--executor", "inline", "--store", "lab.db")
    other.execute("BEGIN IMMEDIATE")
    hurried = command(*run, "--time", "0.3s")
    assert (hurried.code, hurried.err.count("\n")) == (2, 1)
    assert not list(Path().glob("*rescue*"))
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    said = command(*run)
    assert (said.code, said.err) == (0, "")
    assert said.out.count("the run waits for it, up to 10m") == 1


def test_a_full_disk_is_not_waited_for(make_plan: MakePlan, inline: Options) -> None:
    with open_store("lab.db", mode="write") as store:
        with store.database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1")
        with pytest.raises(UserError, match="the disk is full"):
            drive(make_plan(), store, inline, worker=breaking(0, print))


def test_a_second_signal_ends_the_waiting(
    make_plan: MakePlan, inline: Options, other: sqlite3.Connection
) -> None:
    def lock() -> None:
        other.execute("BEGIN IMMEDIATE")
        for after in (0.2, 0.5):
            threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()

    began = time.monotonic()
    with open_store("lab.db", mode="write") as store:
        with pytest.raises(Signalled):
            drive(make_plan(), store, inline, worker=breaking(2, lock))
        other.execute("COMMIT")
    assert time.monotonic() - began < 5


def test_a_server_that_restarts_is_waited_for(
    make_plan: MakePlan,
    inline: Options,
    whole: dict[str, Any],
    new_database: NewPlace,
    postgres_server: str,
) -> None:
    def restart() -> None:
        control(postgres_server, "stop")
        threads.append(threading.Thread(target=control, args=(postgres_server, "start")))
        threads[0].start()

    threads: list[threading.Thread] = []
    with open_store(new_database(), mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(2, restart))
        threads[0].join()
        assert content(store) == whole
        assert attempts(store) == [["done"]] * 4


def test_a_server_that_stays_away_stops_the_run_which_goes_on_later(
    make_plan: MakePlan,
    inline: Options,
    whole: dict[str, Any],
    new_database: NewPlace,
    postgres_server: str,
) -> None:
    place = new_database()
    worker = breaking(2, lambda: control(postgres_server, "stop"))
    try:
        with (
            open_store(place, mode="write") as store,
            pytest.raises(UserError, match=r"cannot be reached: .*, and the run has"),
        ):
            drive(make_plan(HASTY), store, inline, worker=worker)
    finally:
        control(postgres_server, "start")
    (rescue,) = Path().glob("scalelab.rescue-*.db")
    with open_store(place, mode="write") as store:
        assert merge(store, rescue).imported == 1
        assert drive(make_plan(), store, inline, worker=breaking(0, print)).known == 2
        assert content(store) == whole


@pytest.mark.parametrize("command_line", ["run spec.yaml", "optimize --space space.yaml"])
def test_a_server_that_is_away_at_the_start_is_waited_for(
    command: Command, new_database: NewPlace, postgres_server: str, command_line: str
) -> None:
    spec = SPEC.replace("PATIENCE", "10m").replace("400", "4").replace("replicates: 2\n", "")
    Path("spec.yaml").write_text(spec)
    Path("space.yaml").write_text(SPACE)
    place = new_database()
    control(postgres_server, "stop")
    starting = threading.Timer(1.0, control, args=(postgres_server, "start"))
    starting.start()
    said = command(*command_line.split(), "--executor", "inline", "--store", place)
    starting.join()
    assert (said.code, said.err) == (0, "")
    assert said.out.count("the run waits for it, up to 10m") == 1


def test_tables_that_another_session_locks_are_waited_for(
    make_plan: MakePlan,
    inline: Options,
    whole: dict[str, Any],
    new_database: NewPlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg

    monkeypatch.setattr(postgres, "TRY_S", 0.1)
    place = new_database()

    def lock() -> None:
        other.execute("LOCK TABLE scalelab.trials, scalelab.claims, scalelab.metrics")
        threading.Timer(0.6, other.rollback).start()

    open_store(place, mode="write").close()
    with psycopg.connect(place) as other, open_store(place, mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(2, lock))
        assert content(store) == whole
        assert attempts(store) == [["done"]] * 4
    assert isinstance(inline.stream, StringIO)
    assert inline.stream.getvalue().count("the run waits for it, up to 10m") == 1


def lose_connections(store: Store, *, committed: bool) -> None:
    """Every second transaction loses its connection at COMMIT, after it was committed or before."""
    number = count()

    @event.listens_for(store.database.engine, "commit")
    def lose(connection: Connection) -> None:
        if next(number) % 2 == 0:
            raw: Any = connection.connection.driver_connection
            if committed:
                raw.commit()
            raw.close()


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_that_breaks_at_commit_changes_nothing(
    make_plan: MakePlan,
    inline: Options,
    whole: dict[str, Any],
    new_database: NewPlace,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    monkeypatch.setattr("scalelab.store.patience.PAUSE_S", 0.0)
    with open_store(new_database(), mode="write") as store:
        lose_connections(store, committed=committed)
        drive(make_plan(), store, inline, worker=breaking(0, print))
        assert content(store) == whole
        assert attempts(store) == [["done"]] * 4
        with store.database.watched(Patience(9, print, hurried=lambda: False)):
            store.open_experiment("search", {"name": "search", "objectives": {}})
            assert store.enlist("search", record(1), "me")
            assert store.enlist("search", record(2), "me")
        assert len(store.members("search")) == 2


GONE = {
    "tables are gone": "DROP SCHEMA scalelab CASCADE",
    "tables were replaced": "DROP SCHEMA scalelab CASCADE; ALTER SCHEMA spare RENAME TO scalelab",
    "database is gone": "DROP DATABASE {} WITH (FORCE)",
}


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("what", GONE)
def test_what_dropped_tables_had_of_the_run_is_rescued(
    make_plan: MakePlan,
    inline: Options,
    whole: dict[str, Any],
    postgres_server: str,
    new_database: NewPlace,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    at: int,
) -> None:
    import psycopg

    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.05)

    new_database()
    server = f"host={postgres_server} user=postgres dbname="
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS doomed WITH (FORCE)")
        connection.execute("CREATE DATABASE doomed")

    def drop() -> None:
        name = "postgres" if "database" in what else "doomed"
        with psycopg.connect(f"{server}{name}", autocommit=True) as connection:
            while True:
                # The heartbeat locks the tables in another order, and the server ends one of both.
                with suppress(psycopg.errors.DeadlockDetected):
                    connection.execute(GONE[what].format("doomed").encode())
                    return

    place = f"postgresql://postgres@/doomed?host={postgres_server}"
    open_store(place, mode="write").close()
    with psycopg.connect(f"{server}doomed", autocommit=True) as connection:
        connection.execute("ALTER SCHEMA scalelab RENAME TO spare")
    with open_store(place, mode="write") as store, pytest.raises(UserError, match=what):
        drive(make_plan(), store, inline, worker=breaking(at, drop))
    (rescue,) = Path().glob("scalelab.rescue-*.db")
    with open_store("new.db", mode="write") as store:
        merge(store, rescue)
        drive(make_plan(), store, inline, worker=breaking(0, print))
        assert content(store) == whole
        assert at < 4 or attempts(store) == [["done"]] * 4


SPEC = """\
name: small
task: {people: 8, templates: 1}
model: {width: 8}
budget: {steps: 400}
batch: 16
evaluation: {first: 20, ratio: 1.2}
replicates: 2
execution: {device: cpu, checkpoint_every: 0.1, patience: PATIENCE}
"""

SPACE = """\
name: found
base: spec.yaml
search: {optim.lr: {float: [1e-3, 1e-2], log: true}}
objectives: {recall: maximize}
trials: 1
"""


def start(executor: str, store: str, patience: str) -> "subprocess.Popen[str]":
    Path("spec.yaml").write_text(SPEC.replace("PATIENCE", patience))
    command = [sys.executable, "-m", "scalelab", "run", "spec.yaml", "--executor", executor]
    return subprocess.Popen(
        [*command, "--jobs", "2", "--store", f"{store}/lab.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_a_trial_runs(process: "subprocess.Popen[str]", store: str) -> None:
    until = time.monotonic() + 60
    while not list(Path(store).glob("trials/*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def end(process: "subprocess.Popen[str]") -> None:
    _, error = process.communicate(timeout=300)
    assert (process.returncode, error) == (0, "")


def weights(store: str) -> list[str]:
    with open_store(f"{store}/lab.db", mode="read") as opened:
        digests = [one.record.digest for one in opened.members("small")]
        return [opened.trial(digest).artifacts["weights_sha256"] for digest in digests]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_trials_that_run_while_the_store_is_locked_end_with_the_same_bits(executor: str) -> None:
    end(start("inline", "whole", "10m"))
    for store, patience, code in (("given_up", "2s", 2), ("waited_for", "10m", 0)):
        process = start(executor, store, patience)
        until_a_trial_runs(process, store)
        with closing(sqlite3.connect(f"{store}/lab.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            if code == 0:
                time.sleep(4)
                assert process.poll() is None
                other.execute("COMMIT")
            out, error = process.communicate(timeout=300)
        assert (process.returncode, error.count("\n")) == (code, 1 if code else 0), (out, error)
        assert out.count("the run waits for it") == 1
        end(start("inline", store, "10m"))
        assert weights(store) == weights("whole")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_folder_that_is_removed_under_a_run_ends_it_with_one_sentence(executor: str) -> None:
    process = start(executor, "results", "10m")
    until_a_trial_runs(process, "results")
    shutil.rmtree("results")
    out, error = process.communicate(timeout=300)
    assert (process.returncode, error.count("\n")) == (2, 1), (out, error)
    bring = error.partition("`scalelab ")[2].partition("`")[0].split()
    assert bring[2:] == ["--store", "results/lab.db"]
    subprocess.run(
        [sys.executable, "-m", "scalelab", *bring], check=True, stdout=subprocess.DEVNULL
    )
    for store in ("results", "whole"):
        end(start("inline", store, "10m"))
    assert weights("results") == weights("whole")
