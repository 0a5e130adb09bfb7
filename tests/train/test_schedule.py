"""Learning-rate schedules: their shapes, their ends, and that no update has a rate of 0."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.spec.experiment import Trial
from scalelab.spec.optim import Constant, Cosine, Linear, Wsd
from scalelab.train.schedule import share_of_peak

SCHEDULES = [
    Constant(warmup=5),
    Cosine(warmup=5, floor=0.1),
    Linear(warmup=5, floor=0.1),
    Wsd(warmup=5, decay=0.25, floor=0.1),
]

Schedule = Constant | Cosine | Linear | Wsd

WARMUPS, STEPS = st.integers(0, 60), st.one_of(st.integers(1, 3), st.integers(1, 2000))
DECAYS, FLOORS = st.one_of(st.just(0.0), st.floats(0, 1)), st.floats(1e-9, 1)


def with_floor(floors: st.SearchStrategy[float]) -> st.SearchStrategy[Cosine | Linear | Wsd]:
    return st.one_of(
        st.builds(Cosine, warmup=WARMUPS, floor=floors),
        st.builds(Linear, warmup=WARMUPS, floor=floors),
        st.builds(Wsd, warmup=WARMUPS, decay=DECAYS, floor=floors),
    )


TO_ZERO, TO_FLOOR = with_floor(st.just(0.0)), with_floor(FLOORS)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_warm_up_rises_in_a_line_to_the_peak(schedule: Schedule) -> None:
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


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (Linear(warmup=10), 1 / 90),
        (Cosine(warmup=10, floor=0), math.sin(math.pi / 180) ** 2),
        (Wsd(warmup=10, decay=0.25), 1 / 25),
        (Wsd(warmup=10, decay=0.004), 1.0),
        (Wsd(warmup=10, decay=0), 1.0),
        (Wsd(warmup=10, decay=0, floor=0.1), 0.1),
        (Wsd(warmup=10, decay=1), 1 / 100),
    ],
)
def test_down_to_zero_the_last_update_has_a_rate_and_the_one_after_it_would_have_none(
    schedule: Schedule, last: float
) -> None:
    assert share_of_peak(schedule, 99, 100) == pytest.approx(last)


def test_down_to_zero_cosine_is_half_way_in_the_middle_and_linear_falls_in_a_line() -> None:
    assert share_of_peak(Cosine(warmup=0, floor=0), 50, 100) == pytest.approx(0.5)
    falling = [share_of_peak(Linear(warmup=10), step, 110) for step in range(10, 110)]
    assert falling == pytest.approx([1 - step / 100 for step in range(100)])
    assert [share_of_peak(Wsd(warmup=0, decay=0.5), step, 8) for step in range(8)] == [
        *[1.0] * 5,
        0.75,
        0.5,
        0.25,
    ]


@given(st.one_of(TO_ZERO, TO_FLOOR), STEPS)
def test_every_update_has_a_rate_and_none_a_higher_one_after_the_warm_up(
    schedule: Schedule, steps: int
) -> None:
    shares = [share_of_peak(schedule, step, steps) for step in range(steps)]
    assert min(shares) > 0
    after = shares[schedule.warmup :]
    assert after == sorted(after, reverse=True)
    assert steps <= schedule.warmup or isinstance(schedule, Wsd) or after[0] == pytest.approx(1)


@given(TO_ZERO, st.integers(10**9, 10**18))
def test_the_last_of_any_number_of_updates_has_a_rate(schedule: Schedule, steps: int) -> None:
    assert share_of_peak(schedule, steps - 1, steps) > 0


@given(TO_ZERO, st.integers(0, 500), st.floats(1e-9, 500))
def test_a_rate_follows_a_promise_that_is_no_whole_number_without_a_leap(
    schedule: Schedule, step: int, more: float
) -> None:
    """Under a budget of FLOPs `steps` moves with what was spent: always beyond the updates done."""
    steps = step + more
    here, near = (share_of_peak(schedule, step, given) for given in (steps, steps * (1 + 1e-9)))
    assert 0 < here <= 1
    assert near == pytest.approx(here, rel=1e-5)
    assert share_of_peak(schedule, step, step + 1) <= here * (1 + 1e-12)


@given(TO_FLOOR, STEPS, st.floats(0, 1), st.floats(0, 2))
def test_a_floor_above_zero_is_met_in_the_last_update_by_the_first_definition_to_the_bit(
    schedule: Cosine | Linear | Wsd, steps: int, at: float, more: float
) -> None:
    step, promised = round(at * (steps - 1)), steps + more
    warmup = min(1.0, (step + 1) / (schedule.warmup + 1))
    floor = schedule.floor
    passed = min(1.0, max(0, step - schedule.warmup) / max(1, promised - 1 - schedule.warmup))
    if isinstance(schedule, Wsd):
        left = (promised - 1 - step) / max(1.0, schedule.decay * promised)
        expected = warmup * (floor + (1 - floor) * min(1.0, max(0.0, left)))
    elif isinstance(schedule, Linear):
        expected = warmup * (floor + (1 - floor) * (1 - passed))
    else:
        expected = warmup * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * passed)))
    assert share_of_peak(schedule, step, promised) == expected
    if steps > schedule.warmup + 1 or isinstance(schedule, Wsd):
        risen = min(1.0, steps / (schedule.warmup + 1))
        assert share_of_peak(schedule, steps - 1, steps) == pytest.approx(risen * floor, rel=1e-6)


@given(TO_ZERO, STEPS, st.data())
def test_where_all_is_warm_up_a_schedule_is_what_it_was(
    schedule: Cosine | Linear | Wsd, steps: int, data: st.DataObject
) -> None:
    """Such trials keep their digests."""
    trial = Trial.model_validate(
        {"budget": {"steps": steps}, "optim": {"schedule": schedule.model_dump()}}
    )
    if schedule.recipe_in(trial) == 1:
        step = data.draw(st.integers(0, steps - 1))
        assert share_of_peak(schedule, step, steps) == (step + 1) / (schedule.warmup + 1)


def test_a_schedule_that_is_all_warm_up_still_ends() -> None:
    assert share_of_peak(Linear(warmup=50), 0, 1) == pytest.approx(1 / 51)


@given(st.sampled_from(SCHEDULES), st.integers(1, 2000), st.data())
def test_a_share_is_between_nothing_and_the_peak(
    schedule: Schedule, steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 <= share_of_peak(schedule, step, steps) <= 1


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_a_promise_of_as_many_updates_as_there_are_changes_nothing(
    schedule: Schedule,
) -> None:
    """By the share of FLOPs that is spent: step / share."""
    for step in range(1, 70):
        assert share_of_peak(schedule, step, step / (step / 70)) == pytest.approx(
            share_of_peak(schedule, step, 70), rel=1e-12
        )
