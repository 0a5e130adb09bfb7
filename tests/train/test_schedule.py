import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.spec.optim import Constant, Cosine, Linear, Wsd
from scalelab.train.schedule import share_of_peak

SCHEDULES = [
    Constant(warmup=5),
    Cosine(warmup=5, floor=0.1),
    Linear(warmup=5, floor=0.1),
    Wsd(warmup=5, decay=0.25, floor=0.1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_warm_up_rises_in_a_line_to_the_peak(schedule: Constant | Cosine | Linear | Wsd) -> None:
    shares = [share_of_peak(schedule, step, 1000) for step in range(6)]
    assert shares[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6], rel=1e-3)
    assert shares[5] == pytest.approx(1.0, rel=1e-3)


def test_cosine_ends_at_its_floor_and_is_half_way_in_the_middle() -> None:
    schedule = Cosine(warmup=0, floor=0.1)
    assert share_of_peak(schedule, 99, 100) == pytest.approx(0.1)
    assert share_of_peak(schedule, 50, 101) == pytest.approx(
        0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))
    )


def test_wsd_is_flat_and_then_falls_in_a_line() -> None:
    schedule = Wsd(warmup=0, decay=0.25, floor=0.1)
    assert share_of_peak(schedule, 74, 100) == pytest.approx(1.0)
    assert share_of_peak(schedule, 99, 100) == pytest.approx(0.1)
    falling = [share_of_peak(schedule, step, 100) for step in range(75, 100)]
    assert [round(a - b, 9) for a, b in itertools.pairwise(falling)] == [round(0.9 / 25, 9)] * 24


def test_linear_falls_in_a_line_from_the_peak_to_its_floor() -> None:
    schedule = Linear(warmup=10, floor=0.2)
    falling = [share_of_peak(schedule, step, 111) for step in range(10, 111)]
    assert falling == pytest.approx([1 - 0.8 * step / 100 for step in range(101)])


def test_a_schedule_that_is_all_warm_up_still_ends() -> None:
    assert share_of_peak(Linear(warmup=50), 0, 1) == pytest.approx(1 / 51)


@given(st.sampled_from(SCHEDULES), st.integers(1, 2000), st.data())
def test_a_share_is_between_nothing_and_the_peak(
    schedule: Constant | Cosine | Linear | Wsd, steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 <= share_of_peak(schedule, step, steps) <= 1


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_a_promise_of_as_many_updates_as_there_are_changes_nothing(
    schedule: Constant | Cosine | Linear | Wsd,
) -> None:
    """By the share of FLOPs that is spent: step / share."""
    for step in range(1, 70):
        assert share_of_peak(schedule, step, step / (step / 70)) == pytest.approx(
            share_of_peak(schedule, step, 70), rel=1e-12
        )
