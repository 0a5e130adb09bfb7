from collections.abc import Callable

from scalelab.plan.plan import Plan
from scalelab.search.grid import GridSearch


def test_every_trial_is_asked_once_in_the_order_of_the_plan(make_plan: Callable[..., Plan]) -> None:
    trials = make_plan().trials
    search = GridSearch(trials)
    assert [search.ask() for _ in trials] == trials
    assert search.ask() is None
    assert not search.finished


def test_what_is_told_before_is_not_asked(make_plan: Callable[..., Plan]) -> None:
    trials = make_plan().trials
    search = GridSearch(trials)
    search.tell(trials[0].digest, "done", {})
    search.tell(trials[2].digest, "failed", {})
    assert search.open == [trials[1], trials[3]]
    assert [search.ask(), search.ask(), search.ask()] == [trials[1], trials[3], None]


def test_it_is_finished_when_every_trial_has_a_result_and_progress_weighs_by_flops(
    make_plan: Callable[..., Plan],
) -> None:
    trials = make_plan().trials
    search = GridSearch(trials)
    for planned in trials[:2]:
        search.tell(planned.digest, "stopped", {})
    small, large = trials[0].flops, trials[2].flops
    assert (search.progress.done, search.progress.total) == (2, 4)
    assert abs(search.progress.share - small / (small + large)) < 1e-9
    for planned in trials[2:]:
        search.tell(planned.digest, "diverged", {})
    assert search.finished
    assert search.progress.share == 1


def test_a_grid_without_trials_is_finished() -> None:
    assert GridSearch([]).finished
    assert GridSearch([]).progress.share == 1
