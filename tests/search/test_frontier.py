"""The frontier search, on its own and replayed against generated tables of the published size."""

import random
import runpy
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.families.cost import Parameters
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.search import Frontier
from scalelab.search.frontier import FrontierSearch, combinations
from scalelab.search.galloping import guess, smaller_passing, smallest_passing
from scalelab.spec.budget import Budget
from scalelab.spec.experiment import Trial

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
    tried: list[int] = []
    try:
        tried.append(next(walk))
        while True:
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


def test_where_answers_move_up_and_down_the_guess_is_the_lower_of_two() -> None:
    assert guess([4, 7, 5]) == 5
    assert guess([7, 4, 6]) == 4


@given(
    st.lists(st.booleans(), min_size=1, max_size=20),
    st.integers(0, 25),
    st.sets(st.integers(0, 19)),
)
def test_a_second_look_tries_only_untried_sizes_and_ends_above_one_that_fails(
    row: list[bool], start: int, hints: set[int]
) -> None:
    answer, tried = walked(smallest_passing(range(len(row)), start), lambda size: row[size])
    likely = sorted(hint for hint in hints if hint < len(row))
    found, looked = walked(
        smaller_passing(range(len(row)), answer, tried, likely), lambda size: row[size]
    )
    assert not set(looked) & set(tried)
    assert len(looked) == len(set(looked))
    assert found <= answer
    assert found == answer or row[found]
    assert found == 0 or not row[found - 1]
    assert not any(row[hint] for hint in likely if hint < found)


def test_chains_are_cells_by_the_other_axes_and_replicate_in_order(
    make_plan: Callable[..., Plan],
) -> None:
    found = combinations(Frontier(), make_plan(SPEC).trials)
    assert [len(replicates) for replicates in found] == [2, 2]
    for chain in (chain for replicates in found for chain in replicates):
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
    found = combinations(Frontier(), plan.trials)
    assert [[[len(cell) for cell in chain] for chain in chains] for chains in found] == [[[3, 3]]]


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


def test_a_cell_moves_on_with_every_trial_until_its_answer(make_plan: Callable[..., Plan]) -> None:
    search, shares = FrontierSearch(Frontier(), make_plan(SPEC).trials), [0.0]
    while (planned := search.ask()) is not None:
        after = search.progress.share + search.share_of(planned)
        search.tell(planned.digest, "done", {"recall": planned.params.total / 3_000})
        shares.append(search.progress.share)
        assert shares[-1] >= after - 1e-9
    assert shares == sorted(shares)
    assert len({*shares}) > 2 * search.progress.total
    assert shares[-1] == 1


def test_a_trial_outside_of_the_plan_is_none_of_its_business(
    make_plan: Callable[..., Plan],
) -> None:
    search = FrontierSearch(Frontier(), make_plan(SPEC).trials)
    search.tell("somebody else's", "done", {"recall": 1.0})
    assert (search.progress.done, search.progress.total, search.progress.unit) == (0, 12, "cells")


Grid = Sequence[Sequence[Sequence[bool]]]
"""[replicates, cells, sizes] whether a trial passes."""


def trials_of(grid: Grid) -> tuple[list[PlannedTrial], dict[str, bool]]:
    """A plan of one combination, and its results by digest."""
    trials, passes = [], {}
    for replicate, chain in enumerate(grid):
        for people, row in enumerate(chain):
            for width, passed in enumerate(row):
                digest = f"{replicate}/{people}/{width}"
                axes = {"task.people": people, "model.width": width}
                trials.append(
                    PlannedTrial(
                        Trial(budget=Budget(steps=1)),
                        digest,
                        axes,
                        replicate,
                        Parameters(width, width, width, {}),
                        steps=1,
                        tokens=1,
                        exposures=1.0,
                        flops=1 + width,
                        flops_least=1 + width,
                    )
                )
                passes[digest] = passed
    return trials, passes


def grids(rows: st.SearchStrategy[list[bool]]) -> st.SearchStrategy[Grid]:
    return st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
        lambda shape: st.lists(
            st.lists(rows, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    )


def widths(search: FrontierSearch) -> list[int | None]:
    return [found and found.axes["model.width"] for found in search.answers()]


def first_searches(grid: Grid) -> tuple[list[int], int]:
    """The answers of every chain on its own, without a second look, and how many trials that
    takes.
    """
    answers, asked = [], 0
    for chain in grid:
        found: list[int] = []
        for row in chain:
            steps = smallest_passing(range(len(row)), guess(found))
            answer, tried = walked(steps, lambda size, row=row: row[size])
            found.append(answer)
            asked += len(tried)
        answers += found
    return answers, asked


ANY = grids(st.lists(st.booleans(), min_size=7, max_size=7))
IN_ORDER = grids(st.integers(0, 7).map(lambda first: [size >= first for size in range(7)]))


@given(ANY, st.integers(1, 9), st.randoms(use_true_random=False))
def test_any_order_of_results_asks_for_the_same_trials_and_gives_the_same_answers(
    grid: Grid, slots: int, random: random.Random
) -> None:
    trials, passes = trials_of(grid)
    alone, shuffled = FrontierSearch(Frontier(), trials), FrontierSearch(Frontier(), trials)
    asked = [
        run(search, lambda planned: passes[planned.digest], jobs, seed)
        for search, jobs, seed in ((alone, 1, 0), (shuffled, slots, random.randrange(1000)))
    ]
    assert set(asked[0]) == set(asked[1])
    assert len(asked[0]) == len(set(asked[0]))
    assert widths(alone) == widths(shuffled)
    assert alone.progress.done == alone.progress.total == sum(map(len, grid))

    told = random.sample(trials, random.randrange(len(trials)))
    rebuilt = FrontierSearch(Frontier(), trials)
    for planned in told:
        rebuilt.tell(planned.digest, "done", {"recall": float(passes[planned.digest])})
    rest = run(rebuilt, lambda planned: passes[planned.digest], slots, seed=1)
    assert set(rest) == set(asked[0]) - {planned.digest for planned in told}
    assert widths(rebuilt) == widths(alone)


@given(ANY)
def test_an_answer_passes_while_the_size_below_fails_and_a_second_look_only_lowers_it(
    grid: Grid,
) -> None:
    trials, passes = trials_of(grid)
    search = FrontierSearch(Frontier(), trials)
    run(search, lambda planned: passes[planned.digest], 1, seed=0)
    rows = [row for chain in grid for row in chain]
    for width, first, row in zip(widths(search), first_searches(grid)[0], rows, strict=True):
        found = len(row) if width is None else width
        assert found <= first
        assert found == len(row) or row[found]
        assert found == 0 or not row[found - 1]


@given(IN_ORDER)
def test_a_table_that_is_monotone_in_size_is_answered_exactly(grid: Grid) -> None:
    trials, passes = trials_of(grid)
    search = FrontierSearch(Frontier(), trials)
    run(search, lambda planned: passes[planned.digest], 1, seed=0)
    assert widths(search) == [
        row.index(True) if True in row else None for chain in grid for row in chain
    ]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6).map(sorted),
    st.lists(st.integers(0, 1), min_size=6, max_size=6),
    st.integers(1, 4),
)
def test_where_replicates_agree_within_one_size_a_second_look_costs_nothing(
    answers: list[int], moved: list[int], replicates: int
) -> None:
    grid = [
        [
            [size >= answer + (moved[place] if replicate % 2 else 0) for size in range(12)]
            for place, answer in enumerate(answers)
        ]
        for replicate in range(replicates)
    ]
    trials, passes = trials_of(grid)
    asked = run(
        FrontierSearch(Frontier(), trials), lambda planned: passes[planned.digest], 1, seed=0
    )
    assert len(asked) == first_searches(grid)[1]


def test_a_smaller_size_at_which_other_replicates_pass_is_tried_again() -> None:
    usual = [[True] * 8, [size >= 2 for size in range(8)]]
    odd = [[size >= 6 for size in range(8)], [size in (2, 6, 7) for size in range(8)]]
    trials, passes = trials_of([usual, usual, odd])
    search = FrontierSearch(Frontier(), trials)
    asked = run(search, lambda planned: passes[planned.digest], 1, seed=0)
    assert first_searches([odd])[0] == [6, 6]
    assert widths(search) == [0, 2, 0, 2, 6, 2]
    assert asked[-1] == "2/1/1"


@pytest.fixture(scope="module")
def benchmark() -> SimpleNamespace:
    path = Path(__file__).parents[2] / "benchmarks" / "search_replay.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.mark.parametrize("kind", ["even", "lumpy", "placed"])
def test_on_tables_like_the_published_one_it_asks_780_runs_at_most_and_finds_290_cells_at_least(
    benchmark: SimpleNamespace, kind: str
) -> None:
    tables = [benchmark.generate(kind, seed) for seed in range(5)]
    assert all(len(table.trials) == 7800 for table in tables)
    for mode, least, most in (("in_tool", 16, 24), ("in_weight", 3, 8)):
        disorder = [benchmark.out_of_order(table.rows[mode]) for table in tables]
        assert least <= statistics.mean(disorder) <= most
    replays = [benchmark.replay(table) for table in tables]
    assert statistics.median(replay.runs for replay in replays) <= 780
    assert statistics.median(replay.right for replay in replays) >= 290
