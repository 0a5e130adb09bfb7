"""A store that is removed, replaced, truncated or overwritten while a run writes to it: the run
stops with one sentence, what it had is in a rescue file, and with that the same command ends as if
nothing had happened.
"""

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from tests.faults.work import breaking, content
from tests.store.conftest import merge

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.plan.plan import Plan
from scalelab.run import driver
from scalelab.run.driver import Options, drive
from scalelab.run.rescue import Diary, Entry, rescued
from scalelab.store import open_store
from scalelab.store.patience import Lost, Patience

STORE = Path("results/lab.db")


def replace() -> None:
    with open_store("other.db", mode="write"):
        pass
    Path("other.db").rename(STORE)


def restore() -> None:
    """Another content in the same file, as `cp backup.db lab.db` leaves it."""
    with open_store("backup.db", mode="write"):
        pass
    STORE.write_bytes(Path("backup.db").read_bytes())


def overwrite() -> None:
    with sqlite3.connect("notes.db") as notes:
        notes.execute("CREATE TABLE notes (text TEXT)")
    notes.close()
    STORE.write_bytes(Path("notes.db").read_bytes())


HARMS: dict[str, tuple[Callable[[], object], str]] = {
    "removed": (STORE.unlink, "results"),
    "moved": (lambda: STORE.rename("elsewhere.db"), "results"),
    "folder removed": (lambda: shutil.rmtree(STORE.parent), "."),
    "replaced": (replace, "results"),
    "truncated": (lambda: os.truncate(STORE, 0), "results"),
    "overwritten": (overwrite, "results"),
    "restored": (restore, "results"),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("waits", [True, False], ids=["heartbeat", "last word"])
@pytest.mark.parametrize("harm", HARMS)
def test_what_a_lost_store_had_is_rescued(
    make_plan: Callable[..., Plan],
    inline: Options,
    monkeypatch: pytest.MonkeyPatch,
    harm: str,
    waits: bool,
) -> None:
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.02)
    plan, (break_it, folder) = make_plan(), HARMS[harm]
    with open_store("whole.db", mode="write") as store:
        drive(plan, store, inline, worker=breaking(0, print))
        whole = content(store)
    worker = breaking(3 if waits else 4, break_it, waits=waits)
    with (
        open_store(STORE, mode="write") as store,
        pytest.raises(UserError, match="during the run; what it had is in ") as lost,
    ):
        drive(plan, store, inline, worker=worker)
    (rescue,) = Path(folder).glob("*.rescue-*.db")
    assert f"`scalelab import {rescue} --store {STORE}`" in str(lost.value)
    with open_store(rescue, mode="read") as store:
        states = [one.result.state for one in store.members("small")]
        assert states == ["done"] * 2 + ["queued", "missing"] if waits else ["done"] * 4
    with open_store("new.db", mode="write") as store:
        merge(store, rescue)
        again = drive(plan, store, inline, worker=breaking(0, print))
        assert again.known == states.count("done")
        assert content(store) == whole
    assert not list(Path().glob("*/*-wal")), "it would be taken for that of another file"
    copies = {"overwritten": "notes.db", "restored": "backup.db"}
    if harm in copies:
        assert STORE.read_bytes() == Path(copies[harm]).read_bytes()


@pytest.mark.parametrize("during", [False, True])
def test_an_older_copy_of_the_same_store_is_noticed(
    make_plan: Callable[..., Plan],
    inline: Options,
    monkeypatch: pytest.MonkeyPatch,
    during: bool,
) -> None:
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.02)
    plan, older = make_plan(), Path("older.db")

    def copy() -> None:
        with closing(sqlite3.connect(STORE)) as live, closing(sqlite3.connect(older)) as into:
            live.backup(into)

    def harm() -> None:
        if during:
            copy()
            with closing(sqlite3.connect(STORE)) as live:  # many trials later
                live.execute("CREATE TABLE other (text TEXT)")
                live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            time.sleep(0.2)
        shutil.copyfile(older, STORE)

    with open_store(STORE, mode="write") as store:
        driver.register(plan, store)
    copy()
    with (
        open_store(STORE, mode="write") as store,
        pytest.raises(UserError, match="during the run; what it had is in "),
    ):
        drive(plan, store, inline, worker=breaking(3, harm, waits=True))
    assert STORE.read_bytes() == older.read_bytes()
    (rescue,) = STORE.parent.glob("*.rescue-*.db")
    with open_store(rescue, mode="read") as store:
        states = [one.result.state for one in store.members("small")]
        assert states == ["done"] * 2 + ["queued", "missing"]


def test_a_store_that_is_vacuumed_is_the_same_store(
    make_plan: Callable[..., Plan], inline: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.02)

    def vacuum() -> None:
        with closing(sqlite3.connect(STORE)) as other:
            other.execute("VACUUM")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        time.sleep(0.2)

    with open_store(STORE, mode="write") as store:
        with store.database.writing() as connection:  # pages that go
            connection.exec_driver_sql("CREATE TABLE large (text TEXT)")
            connection.exec_driver_sql("INSERT INTO large VALUES (zeroblob(100000))")
            connection.exec_driver_sql("DROP TABLE large")
        ended = drive(make_plan(), store, inline, worker=breaking(3, vacuum))
        assert ended.outcomes == {"done": 4}
        with store.database.reading() as connection:
            names = connection.exec_driver_sql("SELECT name FROM properties").scalars().all()
        assert names == ["cleaned"], "the mark of a run goes with it"


@pytest.mark.parametrize("after", [0, 1])
def test_the_marks_of_many_drivers_are_no_replacement(
    make_plan: Callable[..., Plan],
    inline: Options,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """They take several pages, be it before the run begins or during it."""
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.02)
    marks = [(f"run elsewhere/pid:[1]/{number}/{number:08x}", "") for number in range(200)]

    def others() -> None:
        with closing(sqlite3.connect(STORE)) as other:
            other.executemany("INSERT INTO properties VALUES (?, ?)", marks)
            other.commit()
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        time.sleep(0.2)

    with open_store(STORE, mode="write") as store:
        if not after:
            others()
        worker = breaking(2 if after else 0, others)
        ended = drive(make_plan(), store, inline, worker=worker)
        assert ended.outcomes == {"done": 4}


def test_a_rescue_file_has_what_earlier_runs_found(
    make_plan: Callable[..., Plan], inline: Options
) -> None:
    first = make_plan("name: first\nbudget: {steps: 20}\n")
    with open_store(STORE, mode="write") as store:
        drive(first, store, inline, worker=breaking(0, print))
        with pytest.raises(UserError):
            drive(make_plan(), store, inline, worker=breaking(1, STORE.unlink))
    (rescue,) = STORE.parent.glob("*.rescue-*.db")
    with open_store(rescue, mode="read") as store:
        assert [one.result.state for one in store.members("first")] == ["done"]


def test_a_diary_goes_on_after_a_full_disk() -> None:
    entry = Entry(1.0, "a", Measured(5, {"loss": 2.0}))
    with closing(Diary()) as diary:
        diary.note(entry)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))  # in the middle of a line
        try:
            for _ in range(3):
                diary.note(entry)
            assert len(list(diary.entries())) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        diary.note(entry)
        assert list(diary.entries()) == [entry, entry]


def test_a_trial_that_another_driver_has_is_left_out_of_a_rescue_file(
    make_plan: Callable[..., Plan],
) -> None:
    plan = make_plan()
    first, second, *_ = [planned.digest for planned in plan.trials]
    with open_store(STORE, mode="write") as store, closing(Diary()) as diary:
        driver.register(plan, store)
        store.claim(first, "other")
        for digest in (first, second):
            diary.note(Entry(1.0, digest, Started({}), digest))
            diary.note(Entry(2.0, digest, Ended("done", 10, 0.5, {"recall": 0.5})))
        rescued(
            Lost("was removed", where=str(STORE)),
            store.database,
            diary,
            partial(driver.register, plan),
            experiment=None,
            environment={},
            owner="me",
        )
    (rescue,) = STORE.parent.glob("*.rescue-*.db")
    with open_store(rescue, mode="read") as store:
        assert [one.result.state for one in store.members("small")][:2] == ["queued", "done"]


def test_a_heartbeat_is_cheap(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    with open_store(STORE, mode="write") as store:
        driver.register(plan, store)
        for planned in plan.trials:
            store.claim(planned.digest, "me")
        with store.database.watched(Patience(1, print, hurried=lambda: True)):
            seconds: list[float] = []
            for _ in range(50):
                began = time.perf_counter()
                store.database.check()
                store.renew("me")
                seconds.append(time.perf_counter() - began)
    assert median(seconds) < 1e-3
