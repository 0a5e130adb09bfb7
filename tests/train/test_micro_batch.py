"""The micro-batch: settled by the trial or the execution, or found for the memory that there is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.core.errors import UserError
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import micro_batch
from scalelab.train.micro_batch import available_bytes, find, memory_share, settled

CPU = torch.device("cpu")
COUPLED = {"ffn": {"kind": "moe", "experts": 4, "balance": {"loss": 0.01}}}


def trial(**changes: Any) -> Trial:
    return Trial.model_validate({"budget": {"steps": 4}, "batch": 16} | changes)


@pytest.mark.parametrize(("asked", "size"), [(None, 16), (5, 5), (99, 16), ("auto", None)])
def test_an_execution_says_how_many_sequences_run_at_once(asked: Any, size: int | None) -> None:
    assert settled(trial(), Execution(micro_batch=asked)) == size


@pytest.mark.parametrize(("asked", "size"), [(None, 16), (5, 4), (8, 8), (15, 8), (1, 1)])
def test_under_compile_all_micro_batches_are_alike(asked: int | None, size: int) -> None:
    assert settled(trial(), Execution(compile=True, micro_batch=asked)) == size


@pytest.mark.parametrize(("own", "size"), [(None, 16), (4, 4)])
@pytest.mark.parametrize("asked", [None, "auto"])
def test_where_the_loss_couples_the_batch_the_trial_says_it(
    own: int | None, size: int, asked: Any
) -> None:
    assert (
        settled(trial(model=COUPLED, micro_batch=own), Execution(micro_batch=asked, compile=True))
        == size
    )


def test_an_execution_may_not_change_a_coupled_trials_numbers() -> None:
    with pytest.raises(
        UserError,
        match=(
            r"execution.micro_batch: 8.*would change this trial's numbers.*write `micro_batch` as a"
            r" field"
        ),
    ):
        settled(trial(model=COUPLED, micro_batch=4), Execution(micro_batch=8))
    assert settled(trial(model=COUPLED, micro_batch=4), Execution(micro_batch=4)) == 4


def tensors(rows: int) -> tuple[torch.Tensor, Any]:
    """A weight, and a run that keeps 4 KB for each sequence."""
    weight = torch.zeros(1024, requires_grad=True)
    return weight, lambda size: (torch.ones(size, 1024) * weight).square().sum()


@pytest.mark.parametrize(("free_kb", "size"), [(10_000, 16), (200, 8), (24, 1), (1, 1)])
def test_memory_decides(monkeypatch: pytest.MonkeyPatch, free_kb: int, size: int) -> None:
    # The product and its factor are kept: 8 KB for a sequence, of half of what 12 KB of gradient
    # and moments leave.
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: free_kb << 10)
    weight, run = tensors(16)
    assert find(16, run, [weight], CPU) == size
    assert weight.grad is None


@pytest.mark.parametrize(("threads", "size"), [(1, 2), (2, 4), (8, 16), (16, 16)])
def test_memory_is_shared_with_the_trials_that_may_run_beside(
    monkeypatch: pytest.MonkeyPatch, threads: int, size: int
) -> None:
    # As above; of 400 KB, a trial that may be one of eight has 50 KB, and 19 KB of them are for its
    # activations.
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: 400 << 10)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    weight, run = tensors(16)
    assert find(16, run, [weight], CPU, memory_share(Execution(threads=threads), CPU)) == size


@pytest.mark.parametrize(
    ("gpus", "part"), [(None, 1.0), (0.25, 0.25), (1, 1.0), (2, 1.0), (0, 1.0)]
)
def test_a_trial_has_its_part_of_a_gpu(gpus: float | None, part: float) -> None:
    assert memory_share(Execution(gpus=gpus), torch.device("cuda")) == part


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_part_of_a_gpu_is_not_overfilled() -> None:
    device, gib = torch.device("cuda"), 1 << 30
    whole = (
        torch.cuda.get_device_properties(device).total_memory // gib
    )  # sequences of 1 GiB that fill it

    def run(size: int) -> torch.Tensor:
        torch.empty(size * gib, dtype=torch.uint8, device=device)
        return torch.ones((), device=device, requires_grad=True)

    assert (
        0.5 < find(whole // 2, run, [], device, share=0.25) / (whole * 0.25 * micro_batch.FREE) <= 1
    )


def test_finding_draws_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    find(8, lambda size: torch.rand(size, requires_grad=True).sum(), [], CPU)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_what_is_free_is_the_systems_or_the_containers(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   64 kB\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 64 << 10
    (tmp_path / "memory.max").write_text("9000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 7000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == 64 << 10
    assert available_bytes(tmp_path / "none", tmp_path) == 4 << 30
