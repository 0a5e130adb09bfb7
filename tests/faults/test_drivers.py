"""Two drivers on one store: one is suspended while the other takes its trial over, their clocks
differ or jump, their store is locked. And workers that die.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.store.conftest import NewPlace

from scalelab.run.desk import LEASE_S
from scalelab.store import TrialDetails, open_store

SPEC = """\
name: long
task: {people: 8, templates: 1}
model: {width: 8}
budget: {steps: STEPS}
batch: 16
evaluation: {first: 20, ratio: 1.2}
replicates: REPLICATES
execution: {device: cpu, checkpoint_every: 0.2, retries: 0}
"""

pytestmark = pytest.mark.slow


class Folder:
    """A folder with a spec, in which commands run in processes of their own, with one store."""

    def __init__(self, path: Path, steps: int, replicates: int = 1, store: str = "") -> None:
        path.mkdir()
        spec = SPEC.replace("STEPS", str(steps)).replace("REPLICATES", str(replicates))
        (path / "spec.yaml").write_text(spec)
        self.path, self.started = path, list[subprocess.Popen[str]]()
        self.store = store or str(path / "results" / "scalelab.db")

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "scalelab", *arguments, "--store", self.store]
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def wait_for_checkpoint(self) -> None:
        until = time.monotonic() + 600
        while not [*self.path.glob("results/trials/*/checkpoint.pt")]:
            assert time.monotonic() < until, "there is no checkpoint"
            time.sleep(0.05)

    def trials(self) -> list[TrialDetails]:
        with open_store(self.store, mode="read") as store:
            return [store.trial(one.record.digest) for one in store.members("long")]

    def trial(self) -> TrialDetails:
        [trial] = self.trials()
        return trial

    def check_shared(self, whole: "Folder") -> None:
        """Both drivers have trained, no trial twice, and with the results of an undisturbed run."""
        trials = self.trials()
        assert [[attempt.state for attempt in trial.attempts] for trial in trials] == [
            ["done"] for _ in trials
        ]
        assert len({trial.attempts[0].owner for trial in trials}) == 2
        assert [trial.artifacts["weights_sha256"] for trial in trials] == [
            trial.artifacts["weights_sha256"] for trial in whole.trials()
        ]
        assert {path.name for path in self.path.glob("results/trials/*/*")} == {"model.pt"}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Any]:
    made: list[Folder] = []

    def make(*given: Any, **options: Any) -> Folder:
        made.append(Folder(tmp_path / given[0], *given[1:], **options))
        return made[-1]

    yield make
    for process in (process for folder in made for process in folder.started):
        process.kill()
        process.communicate()


RUN = ("run", "spec.yaml", "--executor", "inline", "--json")


@pytest.fixture(params=["sqlite", "postgres"])
def shared_store(request: pytest.FixtureRequest) -> str:
    """The place of the store that two drivers share; empty for a file in their folder."""
    if request.param == "sqlite":
        return ""
    new_database: NewPlace = request.getfixturevalue("new_database")
    return new_database()


class Clock:
    """A time of day that differs from the true one; what has elapsed is true."""

    def __init__(self, path: Path, library: Path) -> None:
        self._path, self._library = path, library
        self.set(0)

    def set(self, hours: float) -> None:
        """The clock goes ahead by so many hours."""
        self._path.with_suffix(".new").write_text(f"{3600 * hours:.0f}")
        self._path.with_suffix(".new").rename(self._path)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that looks at this clock."""
        return {"LD_PRELOAD": str(self._library), "CLOCK": str(self._path)}


@pytest.fixture
def clocks(tmp_path: Path, preloaded: Callable[[str], Path]) -> list[Clock]:
    """Two clocks, which are right."""
    return [Clock(tmp_path / f"clock{number}", preloaded("clock.c")) for number in range(2)]


def test_drivers_whose_clocks_are_two_hours_apart_share_the_work(
    folders: Any, shared_store: str, clocks: list[Clock]
) -> None:
    whole, shared = folders("whole", 500, 6), folders("shared", 500, 6, store=shared_store)
    for clock, hours in zip(clocks, (-1, 1), strict=True):
        clock.set(hours)
    slow = shared.start(*RUN, **clocks[0].environment)
    shared.wait_for_checkpoint()
    fast = shared.start(*RUN, **clocks[1].environment)
    for driver in (slow, fast, whole.start(*RUN)):
        out, error = driver.communicate(timeout=900)
        assert driver.returncode == 0, (out, error)
    times = [attempt.started for trial in shared.trials() for attempt in trial.attempts]
    assert max(times) - min(times) > 3600, "nobody faked a clock"
    shared.check_shared(whole)


def test_a_driver_whose_clock_jumps_loses_no_trial_and_takes_none(
    folders: Any, shared_store: str, clocks: list[Clock]
) -> None:
    whole, shared = folders("whole", 500, 6), folders("shared", 500, 6, store=shared_store)
    first = shared.start(*RUN, **clocks[0].environment)
    shared.wait_for_checkpoint()
    second = shared.start(*RUN)
    hours = 0
    while first.poll() is None and second.poll() is None:
        hours = 1 if hours <= 0 else -1
        clocks[0].set(hours)
        time.sleep(1)
    for driver in (first, second, whole.start(*RUN)):
        out, error = driver.communicate(timeout=900)
        assert driver.returncode == 0, (out, error)
    times = [attempt.started for trial in shared.trials() for attempt in trial.attempts]
    assert max(times) - min(times) > 1800, "nobody faked a clock"
    shared.check_shared(whole)


LOCKED_S = 45
"""Longer than a lease, and than SQLite's own patience."""


def test_a_store_that_is_locked_for_long_is_waited_for_by_both_drivers(folders: Any) -> None:
    whole, shared = folders("whole", 500, 6), folders("shared", 500, 6)
    drivers = [shared.start(*RUN)]
    shared.wait_for_checkpoint()
    drivers.append(shared.start(*RUN))
    while len({trial.attempts[0].owner for trial in shared.trials() if trial.attempts}) < 2:
        assert drivers[0].poll() is None
        time.sleep(0.05)
    with closing(sqlite3.connect(shared.store, timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert all(driver.poll() is None for driver in drivers)
        time.sleep(LOCKED_S)
        assert all(driver.poll() is None for driver in drivers)
        other.execute("COMMIT")
    for driver in (*drivers, whole.start(*RUN)):
        out, error = driver.communicate(timeout=900)
        assert driver.returncode == 0, (out, error)
        assert error.count("the run waits for it") == (driver in drivers), error
    shared.check_shared(whole)


def test_a_suspended_driver_that_was_overtaken_writes_nothing_more(
    folders: Any, shared_store: str
) -> None:
    whole, shared = folders("whole", 6000), folders("shared", 6000, store=shared_store)
    assert whole.start(*RUN).wait(timeout=900) == 0
    first = shared.start(*RUN)
    shared.wait_for_checkpoint()
    first.send_signal(signal.SIGSTOP)
    second = shared.start(*RUN)
    time.sleep(LEASE_S + 5)  # it has taken over, and trains
    first.send_signal(signal.SIGCONT)
    out, error = first.communicate(timeout=900)
    assert (first.returncode, error) == (0, error), out
    assert second.wait(timeout=900) == 0
    trial, expected = shared.trial(), whole.trial()
    assert [attempt.state for attempt in trial.attempts] == ["lost", "done"]
    assert trial.artifacts["weights_sha256"] == expected.artifacts["weights_sha256"]
    verified = shared.start("verify", trial.record.digest, "--json")
    assert json.loads(verified.communicate(timeout=900)[0])["equal"]
    assert {path.name for path in shared.path.glob("results/trials/*/*")} == {"model.pt"}


def test_a_worker_that_is_killed_after_progress_is_replaced(folders: Any) -> None:
    """With no retries at all: three deaths, each after a newer checkpoint."""
    folder = folders("killed", 6000)
    run = folder.start("run", "spec.yaml", "--jobs", "1", "--json")
    killed, step = 0, -1
    until = time.monotonic() + 900
    while killed < 3 and run.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
        [*workers] = _workers_of(run.pid)
        checkpoints = [*folder.path.glob("results/trials/*/checkpoint.pt")]
        newest = max((path.stat().st_mtime_ns for path in checkpoints), default=-1)
        if not workers or newest <= step:
            continue
        step = time.time_ns() + 1_500_000_000  # a newer one, and the news of it, come after this
        time.sleep(1.5)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        killed += 1
    out, error = run.communicate(timeout=900)
    assert run.returncode == 0, (out, error)
    states = [attempt.state for attempt in folder.trial().attempts]
    assert states == ["failed"] * killed + ["done"]
    assert killed >= 2


def _workers_of(driver: int) -> Iterator[int]:
    """Process ids of Ray's workers that train for a driver."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes()
            if title.startswith(b"ray::ImplicitFunc.train") and _descends(int(path.name), driver):
                yield int(path.name)
        except OSError:
            continue


def _descends(process: int, ancestor: int) -> bool:
    while process > 1 and process != ancestor:
        status = Path(f"/proc/{process}/stat").read_text()
        process = int(status.rpartition(")")[2].split()[1])
    return process == ancestor
