"""Nothing of a file is used that is not, to the last bit, what was written for this trial."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.core.events import Fenced, Unwritable
from scalelab.train import checkpoint

CPU = torch.device("cpu")
TRIAL = "3f" * 32
CONTENT = {
    "step": 7,
    "model": {"weight": torch.arange(12.0).view(3, 4)},
    "curve": [(1, {"a": 0.5})],
}
WEIGHTS = {"weight": torch.arange(12.0).view(3, 4), "bias": torch.zeros(3)}


def load(folder: Path, name: str = checkpoint.CHECKPOINT, trial: str = TRIAL) -> int | None:
    """The step of a checkpoint."""
    content = checkpoint.load(str(folder), name, trial, CPU)
    return None if content is None else content["step"]


def save(folder: Path, content: dict[str, Any]) -> None:
    """As the attempt that began last."""
    checkpoint.save(str(folder), TRIAL, checkpoint.enter(str(folder)), content)


def damages(content: bytes, count: int | None) -> list[bytes]:
    """The file with one bit flipped, in every byte or in some, and cut short at some places."""
    draw = random.Random(0)
    places = range(len(content)) if count is None else draw.sample(range(len(content)), count)
    flipped = []
    for place in {*places, *range(min(200, len(content)))}:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        flipped.append(bytes(changed))
    cut = [content[: draw.randrange(len(content))] for _ in range(20)]
    return [*flipped, *cut, content + b"\0", b"", b"\n", b"\x80" * 300]


@pytest.mark.parametrize("count", [300, pytest.param(None, marks=pytest.mark.slow)])
def test_no_damage_to_a_checkpoint_passes(tmp_path: Path, count: int | None) -> None:
    save(tmp_path, CONTENT)
    path = tmp_path / checkpoint.CHECKPOINT
    whole = path.read_bytes()
    assert load(tmp_path) == 7
    for content in damages(whole, count):
        path.write_bytes(content)
        with pytest.raises(checkpoint.Unusable):
            load(tmp_path)


@pytest.mark.parametrize("count", [300, pytest.param(None, marks=pytest.mark.slow)])
def test_no_damage_to_a_model_passes(tmp_path: Path, count: int | None) -> None:
    kept = checkpoint.save_model(str(tmp_path), checkpoint.enter(str(tmp_path)), WEIGHTS)
    path = Path(kept["model"])
    whole = path.read_bytes()
    found = checkpoint.load_model(str(tmp_path), path.name, CPU, kept["model_sha256"])
    assert found is not None
    assert all(torch.equal(found[name], weight) for name, weight in WEIGHTS.items())
    for content in damages(whole, count):
        path.write_bytes(content)
        with pytest.raises(checkpoint.Unusable):
            checkpoint.load_model(str(tmp_path), path.name, CPU, kept["model_sha256"])


def test_a_damaged_model_of_unknown_hash_is_read_or_refused_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = Path(
        checkpoint.save_model(str(tmp_path), checkpoint.enter(str(tmp_path)), WEIGHTS)["model"]
    )
    for content in damages(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            found = checkpoint.load_model(str(tmp_path), path.name, CPU)
        except checkpoint.Unusable:
            continue
        assert isinstance(found, dict)


def test_another_trials_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path, CONTENT)
    with pytest.raises(checkpoint.Unusable):
        load(tmp_path, trial="3e" * 32)


def test_a_checkpoint_without_proof_is_refused(tmp_path: Path) -> None:
    """What versions before format 2 wrote."""
    torch.save(CONTENT, tmp_path / checkpoint.CHECKPOINT)
    with pytest.raises(checkpoint.Unusable):
        load(tmp_path)


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    for step in (1, 2, 3):
        save(tmp_path, CONTENT | {"step": step})
    assert [load(tmp_path, name) for name in checkpoint.CHECKPOINTS] == [3, 2]
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", *checkpoint.CHECKPOINTS}


def test_every_tensor_comes_back(tmp_path: Path) -> None:
    save(tmp_path, CONTENT)
    found = checkpoint.load(str(tmp_path), checkpoint.CHECKPOINT, TRIAL, CPU)
    assert found is not None
    weight = found["model"]["weight"]
    assert isinstance(weight, Tensor)
    assert torch.equal(weight, WEIGHTS["weight"])
    assert found["curve"] == [(1, {"a": 0.5})]


def test_an_attempt_that_was_overtaken_writes_nothing_more(tmp_path: Path) -> None:
    folder = str(tmp_path)
    first = checkpoint.enter(folder)
    checkpoint.save(folder, TRIAL, first, CONTENT)
    (tmp_path / f"model.pt.{first}.part").write_bytes(b"half")
    second = checkpoint.enter(folder)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"attempt", "checkpoint.pt"}
    with pytest.raises(Fenced):
        checkpoint.save(folder, TRIAL, first, CONTENT)
    with pytest.raises(Fenced):
        checkpoint.save_model(folder, first, WEIGHTS)
    checkpoint.leave(folder, first)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    checkpoint.save(folder, TRIAL, second, CONTENT)
    checkpoint.leave(folder, second)
    assert not (tmp_path / "attempt").exists()


@pytest.mark.parametrize("slow", ["_packed", "fsync"])
def test_the_fence_holds_where_writing_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Suspended while it packs or writes, and overtaken meanwhile."""
    folder = str(tmp_path)
    save(tmp_path, CONTENT | {"step": 10})
    first = checkpoint.enter(folder)
    place = checkpoint if slow == "_packed" else os
    original = getattr(place, slow)

    def suspended(*arguments: Any) -> Any:
        monkeypatch.setattr(place, slow, original)
        save(tmp_path, CONTENT | {"step": 20})
        return original(*arguments)

    for write in (
        lambda: checkpoint.save(folder, TRIAL, first, CONTENT | {"step": 2}),
        lambda: checkpoint.save_model(folder, first, WEIGHTS),
    ):
        monkeypatch.setattr(place, slow, suspended)
        with pytest.raises(Fenced):
            write()
        assert load(tmp_path) == 20
        assert {path.name for path in tmp_path.iterdir()} == {"attempt", *checkpoint.CHECKPOINTS}


def test_a_folder_that_is_gone_is_no_fence(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    attempt = checkpoint.enter(str(folder))
    checkpoint.save(str(folder), TRIAL, attempt, CONTENT)
    shutil.rmtree(folder)
    with pytest.raises(Unwritable):
        checkpoint.save(str(folder), TRIAL, attempt, CONTENT)
    assert not folder.exists()
