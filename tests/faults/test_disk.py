"""A disk that is full, or forbidden, stops a run with one sentence; nothing fails, nothing is lost,
and the same command goes on.
"""

import errno
import os
from pathlib import Path

import pytest
from tests.cli.conftest import Command, Said

SPEC = """\
name: small
task: {people: 4, templates: 1}
model: {width: 8}
budget: {steps: 60}
batch: 8
evaluation: {first: 20}
replicates: 2
execution: {device: cpu, checkpoint_every: 0.001}
"""

RUN = ("run", "spec.yaml", "--jobs", "1", "--json", "--executor", "inline")


@pytest.mark.parametrize("name", ["attempt", "checkpoint.pt", "model.pt"])
def test_a_full_disk_under_artifacts_stops_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Path("spec.yaml").write_text(SPEC)
    [first, _] = [
        trial["digest"] for trial in command("plan", "spec.yaml", "--json").json["trials"]
    ]

    def full(number: int) -> None:
        if f"{first}/{name}." in str(Path(f"/proc/self/fd/{number}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused = command(*RUN)
    check_refused(command, refused, first)
    went_on = command(*RUN)
    assert went_on.code == 0, went_on.err
    assert went_on.json["outcomes"] == {"done": 2}


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_folder_that_can_hold_nothing_stops_the_run(command: Command, executor: str) -> None:
    Path("spec.yaml").write_text(SPEC)
    [first, _] = [
        trial["digest"] for trial in command("plan", "spec.yaml", "--json").json["trials"]
    ]
    place = Path("results/trials") / first
    place.parent.mkdir(parents=True)
    place.touch()
    refused = command(*RUN, "--executor", executor)
    check_refused(command, refused, first)
    place.unlink()
    assert command(*RUN, "--executor", executor).json["outcomes"] == {"done": 2}


def check_refused(command: Command, refused: Said, digest: str) -> None:
    """One sentence, exit code 2, and no trial that failed."""
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert digest in refused.err
    states = [trial["state"] for trial in command("ls", "--json").json["trials"]]
    assert sorted(states) == ["missing", "queued"]
    assert not [*Path("results/trials").glob("*/*.part")]
