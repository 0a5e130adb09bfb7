"""Weights that are read back are proved by the hash that the store knows, by whoever reads them."""

from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.test_pretrained import digest

from scalelab.run import pretrained

__all__ = ["digest"]

RUN = ("run", "router.yaml", "--json", "--jobs", "1", "--set", "replicates=2", "--executor")


def damage(path: Path) -> bytes:
    """Change one bit of a weight, which torch does not notice; returns the whole file."""
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return whole


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_worker_proves_the_layers_that_it_takes(
    digest: str, command: Command, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    weights = Path("results/trials") / digest / "model.pt"
    check, whole = pretrained._check_file, b""

    def check_and_damage(*arguments: str) -> None:
        nonlocal whole
        check(*arguments)
        whole = damage(weights)

    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "_check_file", check_and_damage)
        refused = command(*RUN, executor)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert f"{digest}/model.pt" in refused.err
    states = [
        trial["state"] for trial in command("ls", "--experiment", "router", "--json").json["trials"]
    ]
    assert sorted(states) == ["missing", "queued"]
    weights.write_bytes(whole)
    assert command(*RUN, executor).json["outcomes"] == {"done": 2}


def test_a_damaged_model_writes_nothing(digest: str, command: Command) -> None:
    assert command("generate", digest, "--tokens", "1").code == 0
    damage(Path("results/trials") / digest / "model.pt")
    refused = command("generate", digest, "--tokens", "1")
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1


def test_no_trial_is_verified_on_other_layers(digest: str, command: Command) -> None:
    (ran,) = command("run", "router.yaml", "--executor", "inline", "--json").json["trials"]
    damage(Path("results/trials") / digest / "model.pt")
    refused = command("verify", ran["digest"])
    assert refused.code == 2
    assert refused.err.count("\n") == 1
