"""A disk that is full, or forbidden, stops a run with one sentence; nothing fails, nothing is lost,
and the same command goes on.
"""

import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Command

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


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["checkpoint.pt", "model.pt"])
def test_a_full_disk_under_artifacts_stops_the_run(
    command: Command, executor: str, name: str
) -> None:
    Path("spec.yaml").write_text(SPEC)
    run = ("run", "spec.yaml", "--executor", executor, "--jobs", "1", "--json")
    digests = [trial["digest"] for trial in command("plan", "spec.yaml", "--json").json["trials"]]
    for digest in digests:
        folder = Path("results/trials") / digest
        folder.mkdir(parents=True)
        (folder / f"{name}.part").symlink_to("/dev/full")
    refused = command(*run)
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert digests[0] in refused.err
    states = [trial["state"] for trial in command("ls", "--json").json["trials"]]
    assert sorted(states) == ["missing", "queued"]
    assert not [*Path("results/trials").glob(f"{digests[0]}/*.part")]
    shutil.rmtree(Path("results/trials") / digests[1])
    went_on = command(*run)
    assert went_on.code == 0, went_on.err
    assert went_on.json["outcomes"] == {"done": 2}
