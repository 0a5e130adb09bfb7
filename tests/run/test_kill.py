"""Real training through the real command line, killed and gone on with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalelab.store import StoredTrial, open_store

SPEC = """
name: long
task: {people: 8, templates: 1}
model: {width: 8}
budget: {steps: 800}
batch: 16
evaluation: {first: 20, ratio: 1.2}
execution: {device: cpu, checkpoint_every: 0.2}
"""


class Commands:
    """Runs `scalelab` in processes of their own, and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[str]]()

    def start(self, where: str, *arguments: str) -> "subprocess.Popen[str]":
        (self.folder / where).mkdir(exist_ok=True)
        (self.folder / where / "spec.yaml").write_text(SPEC)
        command = [sys.executable, "-c", "from scalelab.cli import main; main()", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self.folder / where,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> str:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, error) == (0, ""), out
        return out

    def trial(self, where: str) -> StoredTrial:
        with open_store(self.folder / where / "results" / "scalelab.db", mode="read") as store:
            ((record, _, _),) = store.members("long")
            return store.trial(record.digest)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def test_training_that_was_killed_goes_on_and_ends_with_the_same_bits(commands: Commands) -> None:
    run = ("run", "spec.yaml", "--executor", "inline")
    killed = commands.start("killed", *run)
    whole = commands.start("whole", *run)
    until = time.monotonic() + 60
    while not list(commands.folder.glob("killed/results/trials/*/checkpoint.pt")):
        assert killed.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < until, "there is no checkpoint"
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    commands.end(commands.start("killed", *run))
    commands.end(whole)
    trial, other = commands.trial("killed"), commands.trial("whole")
    assert [attempt.state for attempt in trial.attempts] == ["lost", "done"]
    assert 0 < trial.attempts[1].resumed < trial.record.steps
    assert (trial.result.state, trial.record.digest) == ("done", other.record.digest)
    assert trial.artifacts["weights_sha256"] == other.artifacts["weights_sha256"]
    verdict = json.loads(commands.end(commands.start("killed", "verify", trial.record.digest, "--json")))
    assert verdict["equal"], verdict  # the whole curve is there too
