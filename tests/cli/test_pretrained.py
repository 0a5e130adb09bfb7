"""A plain transformer is trained, and then a router over its layers: from command to command."""

from pathlib import Path

import pytest
from tests.cli.conftest import Command

PLAIN = """\
name: plain
task: {people: 2, templates: 1}
model: {width: 8, layers: 2}
budget: {steps: 6}
batch: 4
"""
ROUTER = """\
name: router
task: {people: 2, templates: 1}
model:
  kind: layer_router
  width: 8
  layers: 2
  pretrained:
    trial: "SHORT"
budget: {steps: 6}
batch: 4
"""


@pytest.fixture
def digest(command: Command, tmp_path: Path) -> str:
    """That of a trained plain transformer, whose layers router.yaml takes."""
    (tmp_path / "plain.yaml").write_text(PLAIN)
    (trial,) = command("run", "plain.yaml", "--executor", "inline", "--json").json["trials"]
    (tmp_path / "router.yaml").write_text(ROUTER.replace("SHORT", trial["digest"][:8]))
    return trial["digest"]


def test_a_router_is_planned_run_verified_and_asked(
    digest: str, command: Command, tmp_path: Path
) -> None:
    (planned,) = command("plan", "router.yaml", "--json").json["trials"]
    assert planned["state"] == "missing"
    assert command("run", "router.yaml", "--executor", "inline", "--dry-run", "--json").json[
        "trials"
    ] == [planned]
    (ran,) = command("run", "router.yaml", "--executor", "inline", "--json").json["trials"]
    assert (ran["digest"], ran["state"]) == (planned["digest"], "done")
    (shown,) = command("show", ran["digest"][:9], "--json").json["trials"]
    assert shown["trial"]["model"]["pretrained"] == {"trial": digest, "freeze": True}
    assert command("verify", ran["digest"][:9], "--json").json["equal"]
    assert sorted(path.name for path in (tmp_path / "results" / "trials").iterdir()) == sorted(
        [digest, ran["digest"]]
    )
    assert command("run", "router.yaml", "--executor", "inline", "--json").json["known"] == 1


def test_layers_that_are_gone(digest: str, command: Command, tmp_path: Path) -> None:
    """Nothing is asked of them once the router is trained, but to train it again."""
    weights = tmp_path / "results" / "trials" / digest / "model.pt"
    (ran,) = command("run", "router.yaml", "--executor", "inline", "--json").json["trials"]
    weights.unlink()
    assert command("run", "router.yaml", "--executor", "inline").code == 0
    said = command("verify", ran["digest"])
    assert (
        said.code,
        "with which it began, are not there; train that trial again" in said.err,
    ) == (2, True)
    said = command("run", "router.yaml", "--executor", "inline", "--set", "seed=3")
    assert (
        said.code,
        f"the layers of {digest[:10]} are not there; name the folder" in said.err,
    ) == (2, True)
    said = command(
        "run",
        "router.yaml",
        "--executor",
        "inline",
        "--set",
        "seed=3",
        "--artifacts",
        str(tmp_path / "other"),
    )
    assert (said.code, f"{tmp_path}/other/{digest}/model.pt: the layers" in said.err) == (2, True)


@pytest.mark.usefixtures("digest")
@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_pretrained_digest_of_another_width(name: str, command: Command) -> None:
    said = command(name, "router.yaml", "--set", "model.width=16")
    assert said.code == 2
    assert "router.yaml:8: the layers of" in said.err
    assert (
        "its `model.width` is 8, and this trial's is 16; make the two alike, or take the layers of"
        " another trial" in said.err
    )


@pytest.mark.slow
def test_workers_of_ray_find_the_layers(digest: str, command: Command) -> None:
    (ran,) = command("run", "router.yaml", "--executor", "ray", "--jobs", "1", "--json").json[
        "trials"
    ]
    assert ran["state"] == "done"
    assert command("verify", ran["digest"], "--json").json["equal"]
