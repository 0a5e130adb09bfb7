"""Real training through the real command line, killed and gone on with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalelab.store import TrialDetails, open_store

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

    def trial(self, where: str) -> TrialDetails:
        with open_store(self.folder / where / "results" / "scalelab.db", mode="read") as store:
            (one,) = store.members("long")
            return store.trial(one.record.digest)


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
    verdict = json.loads(
        commands.end(commands.start("killed", "verify", trial.record.digest, "--json"))
    )
    assert verdict["equal"], verdict  # the whole curve is there too


SPACE = """
name: hill
base: {budget: {steps: 8}, evaluation: {first: 1, ratio: 1.3}}
search:
  optim.lr: {float: [0.01, 0.1]}
  model.width: {int: [4, 16], step: 4}
objectives: {recall: minimize}
sampler: {kind: tpe, startup: 3}
pruner: {kind: median, startup: 1, first: 4}
trials: 9
"""


def test_a_search_that_was_killed_goes_on_with_what_it_had_begun_and_asks_what_it_would_have_asked(
    tmp_path: Path,
) -> None:
    def start(where: str, pace: str) -> "subprocess.Popen[str]":
        folder = tmp_path / where
        folder.mkdir(exist_ok=True)
        (folder / "spec.yaml").write_text(SPACE)
        driven = str(Path(__file__).with_name("driven.py"))
        command = [
            sys.executable,
            driven,
            str(folder / "store.db"),
            str(folder / "spec.yaml"),
            "--space",
            "--pace",
            pace,
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended_as(where: str) -> list[tuple[str, str, int | None]]:
        with open_store(tmp_path / where / "store.db", mode="read") as store:
            return [
                (one.record.digest, one.result.state, one.result.step)
                for one in store.members("hill")
            ]

    def is_in_the_fourth() -> bool:
        runs = tmp_path / "killed" / "runs"
        ended = runs.read_text().splitlines() if runs.exists() else []
        return len(ended) == 3 and any(
            curve.parent.name not in ended
            for curve in (tmp_path / "killed" / "trials").glob("*/curve")
        )

    killed, until = start("killed", "0.2"), time.monotonic() + 60
    try:
        while not is_in_the_fourth():
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        killed.kill()
        killed.communicate()
    begun = ended_as("killed")
    assert [state == "queued" for _, state, _ in begun] == [False, False, False, True]
    for where in ("killed", "whole"):
        out, error = start(where, "0").communicate(timeout=60)
        assert error == "", out
    assert ended_as("killed") == ended_as("whole")
    assert len(ended_as("whole")) == 9
    assert {state for _, state, _ in ended_as("whole")} == {"done", "stopped"}
    with open_store(tmp_path / "killed" / "store.db", mode="read") as store:
        attempts = store.trial(begun[-1][0]).attempts
    assert [(one.state in ("lost", "running"), one.resumed > 0) for one in attempts] == [
        (True, False),
        (False, True),
    ]
