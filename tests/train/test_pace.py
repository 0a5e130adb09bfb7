"""The clock of an attempt: what counts as an update's time."""

from typing import Any

import pytest
import torch

from scalelab.spec.experiment import Trial
from scalelab.tasks import build
from scalelab.tasks.task import TaskShape
from scalelab.train import pace
from scalelab.train.pace import Pace, Position


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


FLOPS = 1000
"""Of an update, unless a test says otherwise."""


def at(step: int, flops: int | None = None) -> Position:
    return Position(step, step * FLOPS if flops is None else flops)


def started(step: int = 0) -> Pace:
    made = Trial.model_validate(
        {
            "task": {"people": 2, "templates": 1},
            "model": {"width": 8},
            "budget": {"steps": 9},
            "batch": 4,
        }
    )
    shape: TaskShape = build(made.task).shape
    return Pace(
        made.model_copy(update={"model": made.model.resolved()}),
        shape,
        torch.device("cpu"),
        at(step),
    )


def update(of: Pace, clock: Clock, steps: range, seconds: float) -> None:
    for step in steps:
        of.updating(at(step))
        clock.seconds += seconds


def test_the_first_update_of_an_attempt_is_not_counted(clock: Clock) -> None:
    of = started(step=5)
    assert of.speed(at(5)) == {"seconds": 0.0}
    update(of, clock, range(5, 6), 30.0)
    found = of.speed(at(6))
    assert "mfu" not in found
    assert found["flops_per_second"] == pytest.approx(FLOPS / 30)
    update(of, clock, range(6, 9), 2.0)
    found = of.speed(at(9))
    assert found["mfu"] == pytest.approx(FLOPS / 2 / of.peak)
    assert found["flops_per_second"] == pytest.approx(4 * FLOPS / 36)


@pytest.mark.parametrize("pause", ["speed", "pausing"])
def test_evaluations_and_checkpoints_are_counted_in_the_throughput_alone(
    clock: Clock, pause: str
) -> None:
    of = started()
    update(of, clock, range(3), 1.0)
    getattr(of, pause)(at(3))
    clock.seconds += 50.0
    update(of, clock, range(3, 6), 1.0)
    found: dict[str, Any] = of.speed(at(6))
    assert found["mfu"] == pytest.approx(FLOPS / of.peak)
    assert found["flops_per_second"] == pytest.approx(6 * FLOPS / 56)
    assert found["seconds"] == pytest.approx(56)
    clock.seconds += 7.0
    assert of.speed(at(6))["mfu"] == found["mfu"]


def test_what_was_run_is_told_and_not_what_updates_cost_as_a_rule(clock: Clock) -> None:
    of = started(step=2)
    of.updating(at(2))
    clock.seconds += 10
    of.updating(at(3, 2500))
    clock.seconds += 1
    found = of.speed(at(4, 2600))
    assert found["mfu"] == pytest.approx(100 / 1 / of.peak)  # the first update is not counted
    assert found["flops_per_second"] == pytest.approx(600 / 11)
    assert of.position(at(4, 2600))["flops"] == 2600
