"""A driver that is suspended while another one takes its trial over, and workers that die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalelab.run.desk import LEASE_S
from scalelab.store import open_store

SPEC = """\
name: long
task: {people: 8, templates: 1}
model: {width: 8}
budget: {steps: STEPS}
batch: 16
evaluation: {first: 20, ratio: 1.2}
execution: {device: cpu, checkpoint_every: 0.2, retries: 0}
"""

pytestmark = pytest.mark.slow


class Folder:
    """A folder with a spec, in which commands run in processes of their own."""

    def __init__(self, path: Path, steps: int) -> None:
        path.mkdir()
        (path / "spec.yaml").write_text(SPEC.replace("STEPS", str(steps)))
        self.path, self.started = path, list[subprocess.Popen[str]]()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "scalelab", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def wait_for_checkpoint(self) -> None:
        until = time.monotonic() + 120
        while not [*self.path.glob("results/trials/*/checkpoint.pt")]:
            assert time.monotonic() < until, "there is no checkpoint"
            time.sleep(0.05)

    def trial(self) -> Any:
        with open_store(self.path / "results" / "scalelab.db", mode="read") as store:
            [(record, _, _)] = store.members("long")
            return store.trial(record.digest)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Any]:
    made: list[Folder] = []

    def make(name: str, steps: int) -> Folder:
        made.append(Folder(tmp_path / name, steps))
        return made[-1]

    yield make
    for process in (process for folder in made for process in folder.started):
        process.kill()
        process.communicate()


def test_a_suspended_driver_that_was_overtaken_writes_nothing_more(folders: Any) -> None:
    run = ("run", "spec.yaml", "--executor", "inline", "--json")
    whole, shared = folders("whole", 6000), folders("shared", 6000)
    assert whole.start(*run).wait(timeout=300) == 0
    first = shared.start(*run)
    shared.wait_for_checkpoint()
    first.send_signal(signal.SIGSTOP)
    second = shared.start(*run)
    time.sleep(LEASE_S + 5)  # it has taken over, and trains
    first.send_signal(signal.SIGCONT)
    out, error = first.communicate(timeout=300)
    assert (first.returncode, error) == (0, error), out
    assert second.wait(timeout=300) == 0
    trial, expected = shared.trial(), whole.trial()
    assert [attempt.state for attempt in trial.attempts] == ["lost", "done"]
    assert trial.artifacts["weights_sha256"] == expected.artifacts["weights_sha256"]
    verified = shared.start("verify", trial.record.digest, "--json")
    assert json.loads(verified.communicate(timeout=300)[0])["equal"]
    assert {path.name for path in shared.path.glob("results/trials/*/*")} == {"model.pt"}


def test_a_worker_that_is_killed_after_progress_is_replaced(folders: Any) -> None:
    """With no retries at all: three deaths, each after a newer checkpoint."""
    folder = folders("killed", 6000)
    run = folder.start("run", "spec.yaml", "--jobs", "1", "--json")
    killed, step = 0, -1
    until = time.monotonic() + 300
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
    out, error = run.communicate(timeout=300)
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
