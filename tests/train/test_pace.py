"""The clock of an attempt: what counts as an update's time."""

from typing import Any

import pytest
import torch

from scalelab.data import TaskShape, build
from scalelab.spec.experiment import Trial
from scalelab.train import pace
from scalelab.train.pace import Pace


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    monkeypatch.setattr(pace, "matmul_peak", lambda *_: 1e9)
    return made


def started(step: int = 0) -> Pace:
    made = Trial.model_validate({"task": {"people": 2, "templates": 1}, "model": {"width": 8}, "budget": {"steps": 9}, "batch": 4})
    shape: TaskShape = build(made.task).shape
    return Pace(made.model_copy(update={"model": made.model.resolved()}), shape, torch.device("cpu"), step)


def update(of: Pace, clock: Clock, steps: range, seconds: float) -> None:
    for step in steps:
        of.updating(step)
        clock.seconds += seconds


def per_step(of: Pace) -> float:
    return of.position(1)["flops"]


def test_the_first_update_of_an_attempt_is_not_counted(clock: Clock) -> None:
    of = started(step=5)
    assert of.speed(5) == {"seconds": 0.0}
    update(of, clock, range(5, 6), 30.0)
    found = of.speed(6)
    assert "mfu" not in found
    assert found["flops_per_second"] == pytest.approx(per_step(of) / 30)
    update(of, clock, range(6, 9), 2.0)
    found = of.speed(9)
    assert found["mfu"] == pytest.approx(per_step(of) / 2 / of.peak)
    assert found["flops_per_second"] == pytest.approx(4 * per_step(of) / 36)


@pytest.mark.parametrize("pause", ["speed", "pausing"])
def test_evaluations_and_checkpoints_are_counted_in_the_throughput_alone(clock: Clock, pause: str) -> None:
    of = started()
    update(of, clock, range(3), 1.0)
    getattr(of, pause)(3)
    clock.seconds += 50.0
    update(of, clock, range(3, 6), 1.0)
    found: dict[str, Any] = of.speed(6)
    assert found["mfu"] == pytest.approx(per_step(of) / of.peak)
    assert found["flops_per_second"] == pytest.approx(6 * per_step(of) / 56)
    assert found["seconds"] == pytest.approx(56)
    clock.seconds += 7.0
    assert of.speed(6)["mfu"] == found["mfu"]
