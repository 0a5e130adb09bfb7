"""The frontier search, on its own and replayed against generated tables of the published size."""

import random
import runpy
import statistics
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.run.search.frontier import FrontierSearch, chains, guess, smallest_passing
from scalelab.spec.search import Frontier

Answer = TypeVar("Answer")

SPEC = """
name: cells
budget: {steps: 10}
axes:
  task.recall: [in_weight, in_tool]
  task.people: [4, 2, 8]
  model.width: [16, 4, 12, 8]
replicates: 2
search: {kind: frontier}
"""


def walked(
    walk: Generator[int, bool, Answer], passes: Callable[[int], bool]
) -> tuple[Answer, list[int]]:
    """What the walk returns, and what it tried."""
    tried = [next(walk)]
    while True:
        try:
            tried.append(walk.send(passes(tried[-1])))
        except StopIteration as stop:
            return stop.value, tried


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 40))
def test_where_passing_is_monotone_the_answer_is_exact(
    num_sizes: int, start: int, answer: int
) -> None:
    answer = min(answer, num_sizes)
    found, tried = walked(smallest_passing(range(num_sizes), start), lambda size: size >= answer)
    assert found == answer
    assert len(tried) == len(set(tried))


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 40))
def test_where_it_is_not_a_size_is_found_that_passes_while_the_one_below_fails(
    row: list[bool], start: int
) -> None:
    found, tried = walked(smallest_passing(range(len(row)), start), lambda size: row[size])
    assert len(tried) == len(set(tried))
    assert found == len(row) or row[found]
    assert found == 0 or not row[found - 1]


@pytest.mark.parametrize(("answer", "runs"), [(10, 2), (11, 2), (12, 3), (9, 3)])
def test_an_answer_near_the_guess_costs_few_runs(answer: int, runs: int) -> None:
    found, tried = walked(smallest_passing(range(26), 10), lambda size: size >= answer)
    assert (found, len(tried)) == (answer, runs)


def test_the_guess_is_the_last_answer_and_runs_on_where_answers_run() -> None:
    assert guess([]) == 0
    assert guess([3]) == 3
    assert guess([3, 9, 9]) == 9
    assert guess([3, 4, 5]) == 5
    assert guess([3, 6, 11]) == 14
    assert guess([11, 6, 3]) == 3


def test_chains_are_cells_by_the_other_axes_and_replicate_in_order(
    make_plan: Callable[..., Plan],
) -> None:
    found = chains(Frontier(), make_plan(SPEC).trials)
    assert len(found) == 4
    for chain in found:
        assert [cell[0].axes["task.people"] for cell in chain] == [2, 4, 8]
        assert all(
            [planned.axes["model.width"] for planned in cell] == [4, 8, 12, 16] for cell in chain
        )
        assert (
            len(
                {
                    (planned.axes["task.recall"], planned.replicate)
                    for cell in chain
                    for planned in cell
                }
            )
            == 1
        )


def test_an_axis_in_step_with_the_size_tells_no_cells_apart(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("""
name: zipped
budget: {steps: 10}
axes:
  task.people: [2, 4]
  zip: {model.width: [4, 8, 16], optim.lr: [1e-2, 3e-3, 1e-3]}
search: {kind: frontier}
""")
    assert [[len(cell) for cell in chain] for chain in chains(Frontier(), plan.trials)] == [[3, 3]]


def passes_from(frontier: Mapping[int, int]) -> Callable[[PlannedTrial], bool]:
    return lambda planned: planned.axes["model.width"] >= frontier[planned.axes["task.people"]]


def run(
    search: FrontierSearch, passes: Callable[[PlannedTrial], bool], slots: int, seed: int
) -> list[str]:
    """Runs a search with some trials at once that end in a random order; returns what
    it asked for.
    """
    order, running, asked = random.Random(seed), [], []
    while True:
        while len(running) < slots and (planned := search.ask()) is not None:
            running.append(planned)
            asked.append(planned.digest)
        if not running:
            return asked
        planned = running.pop(order.randrange(len(running)))
        search.tell(planned.digest, "done", {"recall": 0.97 if passes(planned) else 0.5})


def test_every_cell_is_answered_and_the_order_of_results_changes_nothing(
    make_plan: Callable[..., Plan],
) -> None:
    trials = make_plan(SPEC).trials
    passes = passes_from({2: 4, 4: 8, 8: 16})
    searches = [FrontierSearch(Frontier(), trials) for _ in range(3)]
    asked = [
        run(search, passes, slots, seed=slots)
        for search, slots in zip(searches, (1, 2, 8), strict=True)
    ]
    assert {frozenset(one) for one in asked} == {frozenset(asked[0])}
    assert all(search.finished for search in searches)
    assert [found and found.axes["model.width"] for found in searches[0].answers()] == [
        4,
        8,
        16,
    ] * 4


def test_independent_chains_are_asked_at_once_and_each_waits_for_its_own_result(
    make_plan: Callable[..., Plan],
) -> None:
    search = FrontierSearch(Frontier(), make_plan(SPEC).trials)
    asked = [search.ask() for _ in range(5)]
    assert asked[4] is None
    assert (
        len({(planned.axes["task.recall"], planned.replicate) for planned in asked[:4] if planned})
        == 4
    )
    assert asked[0]
    search.tell(asked[0].digest, "stopped", {"recall": 1.0})
    following = search.ask()
    assert following
    assert (following.axes["task.recall"], following.replicate) == (
        asked[0].axes["task.recall"],
        asked[0].replicate,
    )


def test_what_may_yet_be_asked_lies_in_the_cells_without_an_answer(
    make_plan: Callable[..., Plan],
) -> None:
    trials = make_plan(SPEC).trials
    passes = passes_from({2: 4, 4: 8, 8: 16})
    search = FrontierSearch(Frontier(), trials)
    assert {planned.digest for planned in search.open} == {planned.digest for planned in trials}
    while (planned := search.ask()) is not None:
        assert planned in search.open
        search.tell(planned.digest, "done", {"recall": 0.97 if passes(planned) else 0.5})
        assert planned not in search.open
    assert search.finished
    assert search.open == []


def test_what_is_known_is_not_asked_and_an_interrupted_search_goes_on(
    make_plan: Callable[..., Plan],
) -> None:
    trials = make_plan(SPEC).trials
    passes = passes_from({2: 4, 4: 8, 8: 16})
    whole = run(FrontierSearch(Frontier(), trials), passes, 2, seed=0)
    by_digest = {planned.digest: planned for planned in trials}
    resumed = FrontierSearch(Frontier(), trials)
    for digest in whole[: len(whole) // 2]:
        resumed.tell(digest, "done", {"recall": 0.97 if passes(by_digest[digest]) else 0.5})
    assert set(run(resumed, passes, 2, seed=1)) == set(whole[len(whole) // 2 :])


@pytest.mark.parametrize(
    ("state", "metrics"),
    [
        ("failed", {}),
        ("diverged", {"recall": 1.0}),
        ("done", {}),
        ("done", {"recall": float("nan")}),
    ],
)
def test_what_is_no_pass_counts_as_none(
    make_plan: Callable[..., Plan], state: str, metrics: dict[str, float]
) -> None:
    search = FrontierSearch(Frontier(), make_plan(SPEC).trials)
    while (planned := search.ask()) is not None:
        search.tell(planned.digest, state, metrics)  # type: ignore[arg-type]
    assert search.finished
    assert search.answers() == [None] * 12
    assert search.progress.share == 1


def test_a_trial_outside_of_the_plan_is_none_of_its_business(
    make_plan: Callable[..., Plan],
) -> None:
    search = FrontierSearch(Frontier(), make_plan(SPEC).trials)
    search.tell("somebody else's", "done", {"recall": 1.0})
    assert (search.progress.done, search.progress.total, search.progress.unit) == (0, 12, "cells")


@pytest.fixture(scope="module")
def benchmark() -> SimpleNamespace:
    path = Path(__file__).parents[2] / "benchmarks" / "search_replay.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.mark.parametrize("noise", ["lumpy", "even"])
def test_on_tables_like_the_published_one_it_asks_755_runs_at_most_and_finds_286_cells_at_least(
    benchmark: SimpleNamespace, noise: str
) -> None:
    tables = [benchmark.generate(benchmark.NOISES[noise], seed) for seed in range(5)]
    assert all(len(table.trials) == 7800 for table in tables)
    assert 20 <= statistics.mean(map(benchmark.out_of_order, tables)) <= 30
    replays = [benchmark.replay(table) for table in tables]
    assert statistics.median(replay.runs for replay in replays) <= 755
    assert statistics.median(replay.right for replay in replays) >= 286
