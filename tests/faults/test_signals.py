"""Every signal that stops a run, in every phase of it, to its driver, to the driver's process group
and to every process of the run: the same command goes on to what an undisturbed run ends with.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.faults.work import content
from tests.run.processes import family, is_alive, is_named

from scalelab.core.metrics import is_speed
from scalelab.core.signals import STOPPING
from scalelab.run.desk import GRACE_S
from scalelab.store import open_store
from scalelab.store.database import table_of
from scalelab.store.tables import Claims

PHASED = Path(__file__).with_name("phased.py")

SPEC = """
name: small
task: {people: 2, templates: 1}
model: {layers: 1, width: 8}
budget: {steps: 40}
batch: 4
evaluation: {first: 10}
execution: {device: cpu, compile: %s}
"""

PHASES = ("data", "compile", "train", "evaluate", "ray")
TARGETS = ("driver", "group", "all")

TABLE = [
    (executor, phase, number, target)
    for executor, phase, number, target in product(("inline", "ray"), PHASES, STOPPING, TARGETS)
    if (executor, phase) != ("inline", "ray")
]
QUICK = {
    ("inline", "evaluate", signal.SIGHUP, "group"),
    ("ray", "train", signal.SIGTERM, "all"),
}
"""What the fast tests try; the slow ones try all."""


SLOW_S = 300.0
"""What a run gets on a busy machine, and a model that compiles there."""


class Runs:
    """Runs of a spec in processes of their own, whose Rays lie in a folder of their own."""

    def __init__(self, folder: Path, phase: str) -> None:
        self.folder, self.phase = folder, phase
        self.store, self.entered = folder / "store.db", folder / "entered"
        self.rays = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))  # a socket's path is short
        self.processes: list[subprocess.Popen[str]] = []
        self.spec = folder / "spec.yaml"
        self.spec.write_text(SPEC % ("true" if phase == "compile" else "false"))

    def start(self, executor: str) -> "subprocess.Popen[str]":
        """The same command each time, but for the executor."""
        arguments = ["run", self.spec, "--store", self.store, "--executor", executor]
        self.processes.append(
            subprocess.Popen(
                [sys.executable, PHASED, self.phase, self.entered, *arguments, "--jobs", "1"],
                cwd=self.folder,
                env=os.environ
                | {"RAY_TMPDIR": str(self.rays), "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "c")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return self.processes[-1]

    def close(self) -> None:
        """End what is left."""
        for process in self.processes:
            process.kill()
            process.communicate()
        shutil.rmtree(self.rays, ignore_errors=True)

    def contents(self) -> dict[str, Any]:
        """What the store holds, without speeds, and the digest of the weights."""
        with open_store(self.store, mode="read") as store:
            found = content(store)
            [member] = found["members"]
            metrics = {name: value for name, value in member[-1].items() if not is_speed(name)}
            curves = [point for point in found["curves"] if not is_speed(point[1])]
            weights = store.trial(member[0]).artifacts["weights_sha256"]
        return {"members": [*member[:-1], metrics], "curves": curves, "weights": weights}

    def attempts(self) -> list[str]:
        """How each attempt ended."""
        with open_store(self.store, mode="read") as store:
            digests = [one.record.digest for one in store.members("small")]
            return [one.state for digest in digests for one in store.trial(digest).attempts]

    def claims(self) -> int:
        """How many claims are held."""
        with open_store(self.store, mode="read") as store, store.database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(table_of(Claims))) or 0


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Callable[[str], Runs]]:
    made: list[Runs] = []

    def make(phase: str) -> Runs:
        made.append(Runs(tmp_path, phase))
        return made[-1]

    yield make
    for one in made:
        one.close()


@cache
def undisturbed(is_compiled: bool) -> dict[str, Any]:
    """What a run ends with that nobody stops."""
    with tempfile.TemporaryDirectory() as folder:
        run = Runs(Path(folder), "compile" if is_compiled else "train")
        run.entered.touch()
        process = run.start("inline")
        out, error = process.communicate(timeout=SLOW_S)
        run.close()
        assert (process.returncode, error) == (0, ""), out
        return run.contents()


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def send(number: signal.Signals, target: str, driver: int) -> None:
    """Send a signal as `kill`, a terminal, or the end of a container does."""
    if target == "group":
        os.killpg(driver, number)
        return
    for process in family(driver) if target == "all" else [driver]:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize(
    ("executor", "phase", "number", "target"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in TABLE],
)
def test_a_run_that_a_signal_stops_goes_on_to_the_same_end(
    runs: Callable[[str], Runs],
    executor: str,
    phase: str,
    number: signal.Signals,
    target: str,
) -> None:
    run = runs(phase)
    first = run.start(executor)

    def is_in_phase() -> bool:
        if phase == "ray":
            return any(is_named(process, "gcs_server") for process in family(first.pid))
        return run.entered.exists()

    wait_for(lambda: is_in_phase() or first.poll() is not None, SLOW_S)
    time.sleep(0.5)
    processes, asked = family(first.pid), time.monotonic()
    send(number, target, first.pid)
    out, error = first.communicate(timeout=SLOW_S)
    assert first.returncode == 128 + number, out + error
    assert time.monotonic() - asked < GRACE_S + 20  # on a busy machine
    assert "Traceback" not in out + error
    assert len((out + error).split("interrupted")) > 1
    wait_for(lambda: not any(is_alive(process) for process in processes), 15)
    assert list(run.rays.iterdir()) == []
    if run.store.exists():
        assert run.claims() == 0
        assert set(run.attempts()) <= {"interrupted"}
    run.entered.touch()
    again = run.start("inline")  # which is quicker, and trains the same
    out, error = again.communicate(timeout=SLOW_S)
    assert (again.returncode, error) == (0, ""), out
    assert run.contents() == undisturbed(phase == "compile")
    assert run.attempts().count("done") == 1
