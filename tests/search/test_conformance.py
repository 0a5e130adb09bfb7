"""What holds for every search."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import pytest
from tests.search.variants import SEARCHES

from scalelab.core.events import State
from scalelab.plan.plan import Plan, PlannedTrial, compile_plan
from scalelab.search import Search, Searcher, stored_threshold
from scalelab.spec.load import load

SPEC = """
name: searched
budget: {steps: 10}
axes:
  task.people: [2, 4, 8]
  model.width: [4, 8, 12, 16]
replicates: 2
"""

Outcome = tuple[State, Mapping[str, float]]


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES.keys())
def search(request: pytest.FixtureRequest) -> Search:
    return request.param


@pytest.fixture
def plan(search: Search, tmp_path: Path) -> Plan:
    path = tmp_path / "spec.yaml"
    path.write_text(f"{SPEC}search: {search.model_dump_json()}\n")
    return compile_plan(*load(path))


def outcome(planned: PlannedTrial) -> Outcome:
    """Larger models are better, and more people take larger models."""
    recall = min(1.0, planned.axes["model.width"] / (3 * planned.axes["task.people"]))
    return "done", {"recall": recall, "loss": 1 - recall}


def failure(planned: PlannedTrial) -> Outcome:
    return "failed", {}


def run(
    searcher: Searcher,
    ends: Callable[[PlannedTrial], Outcome] = outcome,
    *,
    seed: int | None = None,
) -> list[PlannedTrial]:
    """What a search asks for: one trial after the other, or several at a time that end in a random
    order.
    """
    asked: list[PlannedTrial] = []
    running: list[PlannedTrial] = []
    draw = random.Random(seed)
    share = searcher.progress.share
    while True:
        while (seed is None or len(running) < 3) and (planned := searcher.ask()) is not None:
            assert planned in searcher.open
            running.append(planned)
            asked.append(planned)
            if seed is None:
                break
        if not running:
            return asked
        ended = running.pop(draw.randrange(len(running)) if seed is not None else 0)
        assert 0 < searcher.share_of(ended) <= 1
        assert not searcher.measured(ended.digest, 1, {"recall": 0.0, "loss": 9.0})
        searcher.tell(ended.digest, *ends(ended))
        assert share <= searcher.progress.share + 1e-9
        share = searcher.progress.share


def test_every_kind_of_search_is_here() -> None:
    kinds = {kind.model_fields["kind"].default for kind in get_args(get_args(Search)[0])}
    assert kinds == {search.kind for search in SEARCHES.values()}


def test_it_ends_and_asks_for_each_trial_once(search: Search, plan: Plan) -> None:
    searcher = search.start(plan.trials)
    asked = run(searcher)
    assert asked
    assert len({planned.digest for planned in asked}) == len(asked) <= len(plan.trials)
    assert all(planned in plan.trials for planned in asked)
    progress = searcher.progress
    assert (searcher.finished, list(searcher.open), searcher.ask()) == (True, [], None)
    assert (progress.done, progress.share) == (progress.total, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_results_does_not_matter(search: Search, plan: Plan, seed: int) -> None:
    one, other = (run(search.start(plan.trials), seed=each) for each in (None, seed))
    assert {planned.digest for planned in one} == {planned.digest for planned in other}


def test_an_interrupted_search_goes_on(search: Search, plan: Plan) -> None:
    whole = run(search.start(plan.trials))
    searcher = search.start(plan.trials)
    for planned in whole[: len(whole) // 2]:
        searcher.tell(planned.digest, *outcome(planned))
    rest = {planned.digest for planned in run(searcher)}
    assert rest == {planned.digest for planned in whole[len(whole) // 2 :]}


def test_known_results_cost_nothing(search: Search, plan: Plan) -> None:
    searcher = search.start(plan.trials)
    searcher.tell("0" * 64, "done", {"recall": 1.0})
    for planned in plan.trials:
        searcher.tell(planned.digest, *outcome(planned))
    assert searcher.finished
    assert searcher.ask() is None


def test_failures_are_results(search: Search, plan: Plan) -> None:
    searcher = search.start(plan.trials)
    asked = run(searcher, failure)
    assert len({planned.digest for planned in asked}) == len(asked)
    assert searcher.finished


def test_it_is_read_back_from_its_json(search: Search) -> None:
    fields = search.model_dump(mode="json")
    assert stored_threshold({"search": fields}) == search.threshold
    assert stored_threshold({"search": {**fields, "of_a_later_version": 1}}) == search.threshold
