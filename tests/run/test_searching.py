"""The driver of a search over a space: trials that nobody knows beforehand."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.run.searching import METRIC, SPACE, BestSoFar, descending

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.plan.plan import Plan
from scalelab.run.driver import Options, drive, drive_search
from scalelab.run.live import Meter, Standing
from scalelab.run.registering import record
from scalelab.run.summary import Summary
from scalelab.search import Progress
from scalelab.store.history import members_with_curves, other_results
from scalelab.store.store import Store

HILL = """
name: hill
budget: {steps: 8}
axes:
  optim.lr: [0.05, 0.01, 0.09, 0.03, 0.07, 0.02, 0.04, 0.06, 0.08, 0.1]
"""


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    """The pool of the search."""
    return make_plan(HILL)


def drove(
    plan: Plan, store: Store, options: Options, trials: int, worker: Any = None, **how: Any
) -> Summary:
    search = BestSoFar(plan.trials, trials, members_with_curves(store, "hill", METRIC), **how)
    given = {"experiment": "hill", "spec": SPACE, "execution": plan.experiment.execution}
    return drive_search(search, store, options, **given, worker=worker or descending())


def ended(store: Store) -> list[tuple[str, str, int | None]]:
    return [
        (one.record.digest, one.result.state, one.result.step)
        for one in members_with_curves(store, "hill")
    ]


def test_what_is_asked_becomes_a_member_in_the_order_of_asking(
    plan: Plan, store: Store, inline: Options
) -> None:
    summary = drove(plan, store, inline, 6)
    assert (summary.exit_code, summary.known, summary.stopped) == (0, 0, None)
    assert summary.outcomes == {"done": 6 - summary.pruned, "stopped": summary.pruned}
    assert 0 < summary.pruned < 6
    assert str(summary).startswith(f"{6 - summary.pruned} done, {summary.pruned} pruned in ")
    (found,) = store.experiments()
    assert (found.name, found.spec, sum(found.states.values())) == ("hill", SPACE, 6)
    assert [step for step, _ in members_with_curves(store, "hill", METRIC)[0].curve] == list(
        range(1, 9)
    )
    with store.database.reading() as connection:
        positions = (
            connection.exec_driver_sql("SELECT position FROM memberships ORDER BY trial")
            .scalars()
            .all()
        )
    assert list(positions) == list(range(6))


def test_a_search_in_parts_is_the_search_in_one(
    make_plan: Callable[..., Plan], plan: Plan, tmp_path: Path, inline: Options
) -> None:
    from scalelab.store import open_store

    told = []
    for name, parts in (("parts", (2, 3, 7)), ("whole", (7,))):
        with open_store(tmp_path / f"{name}.db", mode="write") as store:
            known = [drove(plan, store, inline, trials).known for trials in parts]
            told.append(ended(store))
            assert known == [0, *parts[:-1]]
            assert drove(plan, store, inline, parts[-1]).outcomes == {}
    assert told[0] == told[1]


def test_a_search_that_is_refused_writes_nothing(
    make_plan: Callable[..., Plan], store: Store, inline: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    plan = make_plan(f"{HILL}execution: {{device: cuda}}\n")
    with pytest.raises(UserError, match=r"`execution\.device` is cuda"):
        drove(plan, store, inline, 3)
    assert store.experiments() == []


def test_a_result_that_the_store_has_is_told_and_not_run_again(
    plan: Plan, store: Store, inline: Options, make_plan: Callable[..., Plan]
) -> None:
    other = make_plan(HILL.replace("hill", "grid"))
    drive(other, store, inline, worker=descending())
    assert len(other_results(store, "hill", {"task.kind": ["facts"]})) == 10
    summary = drove(plan, store, inline, 4)
    assert summary.outcomes == {}
    assert isinstance(inline.stream, StringIO)
    assert "another driver" not in inline.stream.getvalue()
    assert [state for _, state, _ in ended(store)] == ["done"] * 4
    assert len(other_results(store, "hill", {})) == 6, "its own are no others"


def test_what_another_driver_runs_is_waited_for_and_what_another_search_ended_is_gone_on_with(
    plan: Plan, store: Store, inline: Options, tmp_path: Path
) -> None:
    first, second = BestSoFar(plan.trials, 2).ask(), plan.trials[1]
    assert first is not None
    store.register("grid", {}, [record(first), record(second)])
    assert store.claim(first.digest, "another")

    def prune_elsewhere() -> None:
        time.sleep(0.3)
        attempt = store.begin(first.digest, Started({}), {}, "another")
        store.measure(first.digest, attempt, Measured(3, {METRIC: 9.0}))
        store.end(first.digest, attempt, Ended("stopped", 3, 1.0, {METRIC: 9.0, "pruned": 3.0}))

    thread = threading.Thread(target=prune_elsewhere)
    thread.start()
    drove(plan, store, inline, 2, prunes=False)
    thread.join()
    assert [(state, step) for _, state, step in ended(store)] == [("done", 8)] * 2
    assert [one.owner == "another" for one in store.trial(first.digest).attempts] == [True, False]


def test_a_plan_and_a_search_are_not_mixed(plan: Plan, store: Store, inline: Options) -> None:
    drive(plan, store, inline, worker=descending())
    with pytest.raises(
        UserError,
        match=r"`hill` is the runs of a plan, and is not mixed with a search over a space; give",
    ):
        drove(plan, store, inline, 3, worker=descending())
    store.open_experiment("valley", SPACE)
    with pytest.raises(
        UserError,
        match=r"`valley` is a search over a space, and is not mixed with the runs of a plan",
    ):
        store.register("valley", {"name": "valley"}, [])


def test_a_failed_trial_is_a_result_and_is_tried_again_before(
    plan: Plan, store: Store, inline: Options
) -> None:
    calls: list[float] = []

    def fail_on_one(trial, execution, **how):
        calls.append(trial.optim.lr)
        if trial.optim.lr == 0.05:
            raise RuntimeError("no")
        return descending()(trial, execution, **how)

    summary = drove(plan, store, inline, 3, worker=fail_on_one)
    assert (summary.outcomes["failed"], summary.exit_code) == (1, 1)
    assert calls.count(0.05) == 2
    assert drove(plan, store, inline, 3).outcomes == {}


def test_out_of_time_is_an_end_in_good_order(
    plan: Plan, store: Store, inline: Options, tmp_path: Path
) -> None:
    summary = drove(
        plan, store, replace(inline, time_s=0.5, folder=tmp_path), 10, worker=descending(0.04)
    )
    assert (summary.stopped, summary.exit_code) == ("out of time", 0)
    assert "out of time: what was finished is kept" in str(summary)
    states = [state for _, state, _ in ended(store)]
    assert states[-1] == "queued"
    assert "queued" not in states[:-1]
    left = ended(store)[-1][0]
    again = drove(plan, store, replace(inline, folder=tmp_path), 10)
    assert again.known == len(states) - 1
    assert [one.resumed > 0 for one in store.trial(left).attempts] == [False, True]
    assert len(ended(store)) == 10
    assert ended(store)[len(states) - 1][0] == left, "it keeps its place"


def test_an_interrupt_is_no_end() -> None:
    assert Summary({}, 0, {}, 1.0, stopped="interrupted", guided=True).exit_code == 130
    assert Summary({}, 0, {"digest": "no"}, 1.0, stopped="out of time", guided=True).exit_code == 1
    assert Summary({}, 0, {}, 1.0, stopped="out of time").exit_code == 130


def test_the_display_tells_what_was_found(plan: Plan, store: Store, inline: Options) -> None:
    summary = drove(plan, store, inline, 5)
    assert isinstance(inline.stream, StringIO)
    lines = inline.stream.getvalue().splitlines()
    best = min(
        one.result.metrics[METRIC]
        for one in members_with_curves(store, "hill")
        if one.result.state == "done"
    )
    assert f"(5/5 trials, {summary.pruned} pruned, best loss {best:.4g}, " in lines[-1]
    assert sum(": pruned at step" in line for line in lines) == summary.pruned


def test_the_standing_knows_directions_and_leaves_pruned_trials_out() -> None:
    standing = Standing({"loss": "minimize", "accuracy": "maximize"})
    assert standing.parts() == []
    standing.note("done", {"loss": 2.0, "accuracy": 0.5})
    standing.note("done", {"loss": 3.0, "accuracy": 0.75})
    standing.note("stopped", {"loss": 1.0, "accuracy": 1.0, "pruned": 3.0})
    standing.note("diverged", {"loss": 0.0})
    standing.note("done", {"loss": float("nan")})
    assert standing.parts() == ["1 pruned", "best loss 2", "best accuracy 0.75"]


def test_time_that_ends_first_is_what_is_left(plan: Plan) -> None:
    planned, now = plan.trials[0], 0.0
    done = [Progress(0, 0, "trials", 0.0)]
    meter = Meter(lambda: done[-1], clock=lambda: now, standing=Standing({}), deadline=100.0)
    meter.note(planned, Started({}))
    now = 10.0
    assert (meter.share, meter.seconds_left) == (0.1, 90.0)
    assert meter.line() == "0 trials, 0 tokens/s, about 1m 30s left"
    done.append(Progress(5, 10, "trials", 0.5))
    assert (meter.share, meter.seconds_left) == (0.5, 10.0)
    now = 120.0
    assert (meter.share, meter.seconds_left) == (1.0, 0.0)


def test_the_end_says_where_nothing_new_was_found() -> None:
    assert "nothing new was found to try" in str(
        Summary({}, 3, {}, 1.0, guided=True, exhausted=True)
    )
    assert "nothing new" not in str(Summary({}, 3, {}, 1.0, guided=True))


def test_what_no_longer_counts_is_not_the_best_so_far(
    plan: Plan, store: Store, inline: Options
) -> None:
    drove(plan, store, inline, 3)
    search = BestSoFar(plan.trials[3:], 2)
    search.own.clear()
    inline = replace(inline, stream=StringIO())
    given = {"experiment": "hill", "spec": SPACE, "execution": plan.experiment.execution}
    asked: list[float] = []

    def worse(trial, execution, **how):
        asked.append(trial.optim.lr)
        return descending()(trial, execution, **how)

    before = {one.record.digest for one in members_with_curves(store, "hill")}
    summary = drive_search(search, store, inline, **given, worker=worse)
    assert summary.known == 0
    own = [
        one.result.metrics[METRIC]
        for one in members_with_curves(store, "hill")
        if one.record.digest in search.own and one.result.state == "done"
    ]
    assert isinstance(inline.stream, StringIO)
    assert f"best loss {min(own):.4g}" in inline.stream.getvalue().splitlines()[-1]
    assert before


@pytest.mark.parametrize(
    "late", [False, True], ids=["before it is asked for", "while it is waited for"]
)
def test_what_another_driver_of_the_search_pruned_is_told_and_not_gone_on_with(
    plan: Plan, store: Store, inline: Options, late: bool
) -> None:
    first = BestSoFar(plan.trials, 2).ask()
    assert first is not None
    store.open_experiment("hill", SPACE)
    assert store.enlist("hill", record(first), "another")

    def prune_elsewhere() -> None:
        time.sleep(0.3 * late)
        attempt = store.begin(first.digest, Started({}), {}, "another")
        store.measure(first.digest, attempt, Measured(3, {METRIC: 9.0}))
        store.end(first.digest, attempt, Ended("stopped", 3, 1.0, {METRIC: 9.0, "pruned": 3.0}))

    thread = threading.Thread(target=prune_elsewhere)
    thread.start()
    if not late:
        thread.join()
    search = BestSoFar(plan.trials, 2, prunes=False)
    drive_search(
        search,
        store,
        inline,
        experiment="hill",
        spec=SPACE,
        execution=plan.experiment.execution,
        worker=descending(),
    )
    thread.join()
    assert search.finished
    assert [one.owner for one in store.trial(first.digest).attempts] == ["another"]
    assert [(state, step) for _, state, step in ended(store)] == [("stopped", 3), ("done", 8)]
