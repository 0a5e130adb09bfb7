"""Trials that a search ended early, and the search's own experiment: on SQLite and on
PostgreSQL.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.conftest import Clock, NewPlace, merge, record

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import frames, open_store
from scalelab.store.curves import curve
from scalelab.store.export import export
from scalelab.store.history import is_member, members_with_curves, other_results
from scalelab.store.records import Result
from scalelab.store.store import Store

A, B, C = record(1), record(2), record(3)
SPACE = {"name": "s", "objectives": {"loss": "minimize"}}
PRUNED = Ended("stopped", 20, 1.5, {"loss": 2.0, "pruned": 20.0})


def prune(store: Store, digest: str, owner: str = "me") -> None:
    attempt = store.begin(digest, Started({}), {}, owner)
    store.measure(digest, attempt, Measured(10, {"loss": 3.0}))
    store.measure(digest, attempt, Measured(20, {"loss": 2.0}))
    store.end(digest, attempt, PRUNED)


def finish(
    store: Store, digest: str, resumed: int = 0, state: str = "done", owner: str = "me"
) -> None:
    attempt = store.begin(digest, Started({}, resumed), {}, owner)
    store.end(digest, attempt, Ended(state, 100, 2.0, {"loss": 1.0}))  # pyright: ignore


def test_a_pruned_trial_is_stopped_with_its_last_measurement_and_waits_for_whoever_wants_it(
    store: Store,
) -> None:
    store.register("x", {}, [A])
    prune(store, A.digest)
    result = store.results([A.digest])[A.digest]
    assert result == Result("stopped", {"loss": 2.0, "pruned": 20.0}, 1.5, 20)
    assert result.as_planned == "queued"
    assert curve(store, A.digest) == {(10, "loss"): 3.0, (20, "loss"): 2.0}
    assert store.claim(A.digest, "you")
    assert not store.claim(A.digest, "me")
    assert store.results([A.digest])[A.digest] == result, "it is as it was until somebody begins"
    finish(store, A.digest, resumed=20, owner="you")
    assert store.results([A.digest])[A.digest] == Result("done", {"loss": 1.0}, 3.5, 100)
    assert curve(store, A.digest) == {(10, "loss"): 3.0, (20, "loss"): 2.0, (100, "loss"): 1.0}
    assert not store.claim(A.digest, "you", retry=True)


def test_a_trial_that_stopped_by_its_own_rule_is_closed(store: Store) -> None:
    store.register("x", {}, [A])
    finish(store, A.digest, state="stopped")
    assert not store.claim(A.digest, "you")
    assert store.results([A.digest])[A.digest].as_planned == "stopped"


def test_a_result_outlives_a_late_search_that_gives_up(store: Store, clock: Clock) -> None:
    store.register("x", {}, [A])
    slow = store.begin(A.digest, Started({}), {}, "slow")
    assert not store.claim(A.digest, "me")
    clock.now += 61
    finish(store, A.digest)
    assert not store.end(A.digest, slow, PRUNED)
    assert store.results([A.digest])[A.digest].state == "done"


def test_enlisted_trials_are_members_in_the_order_of_asking_and_claimed(store: Store) -> None:
    store.open_experiment("s", SPACE)
    store.register("x", {}, [B])
    finish(store, B.digest)
    assert store.enlist("s", C, "me")
    assert not store.enlist("s", B, "me"), "it has its result"
    assert store.enlist("s", A, "me")
    assert store.enlist("s", C, "me"), "it is mine already"
    assert not store.enlist("s", C, "you")
    assert [(one.record, one.result.state) for one in members_with_curves(store, "s")] == [
        (C, "queued"),
        (B, "done"),
        (A, "queued"),
    ]
    store.open_experiment("s", SPACE | {"trials": 9})
    assert len(members_with_curves(store, "s")) == 3
    assert next(found for found in store.experiments() if found.name == "s").spec["trials"] == 9


def test_enlisting_a_failed_trial_is_for_those_who_retry(store: Store) -> None:
    store.open_experiment("s", SPACE)
    assert store.enlist("s", A, "me")
    store.end(
        A.digest, store.begin(A.digest, Started({}), {}, "me"), Ended("failed", 1, 1.0, error="no")
    )
    assert not store.enlist("s", A, "you")
    assert store.enlist("s", A, "you", retry=True)


def test_members_come_with_the_curve_of_one_metric(store: Store) -> None:
    assert members_with_curves(store, "s", "loss") == []
    store.open_experiment("s", SPACE)
    for trial in (B, A):
        store.enlist("s", trial, "me")
    prune(store, A.digest)
    store.measure(
        B.digest,
        store.begin(B.digest, Started({}), {}, "me"),
        Measured(5, {"loss": float("nan"), "other": 1.0}),
    )
    store.flush()
    first, second = members_with_curves(store, "s", "loss")
    assert (first.record, second.record) == (B, A)
    assert [(step, value != value) for step, value in first.curve] == [(5, True)]
    assert second.curve == [(10, 3.0), (20, 2.0)]


def test_others_are_results_of_other_experiments_by_the_words_in_their_trials(store: Store) -> None:
    context = record(4)
    context = replace(
        context,
        trial=context.trial | {"task": {"kind": "facts", "people": 4, "recall": "in_context"}},
    )
    store.open_experiment("s", SPACE)
    store.register("x", {}, [A, B, C, context])
    store.enlist("s", C, "me")
    for trial in (B, C, context):
        finish(store, trial.digest)
    prune(store, A.digest)
    found = other_results(store, "s", {"task.kind": ["facts"]})
    assert [(one.record, one.result.state, one.result.metrics) for one in found] == [
        (replace(trial, axes={}), "done", {"loss": 1.0}) for trial in (B, context)
    ]
    assert [
        one.record.digest
        for one in other_results(
            store, "s", {"task.kind": ["text", "facts"], "task.recall": ["in_context"]}
        )
    ] == [context.digest]
    assert (
        other_results(store, "s", {"task.kind": ["text"]})
        == other_results(store, "s", {"model.nothing": ["here"]})
        == []
    )


def test_an_artifact_comes_after_the_end(store: Store) -> None:
    store.register("x", {}, [A])
    finish(store, A.digest)
    store.attach(A.digest, "sample", "data:text/plain,one")
    store.attach(A.digest, "sample", "data:text/plain,100%25 two")
    assert store.trial(A.digest).artifacts == {"sample": "data:text/plain,100%25 two"}


def test_a_merge_keeps_what_knows_most(new_place: NewPlace, clock: Clock) -> None:
    here, there = new_place(), new_place()
    with open_store(there, mode="write", clock=clock) as other:
        other.open_experiment("s", SPACE)
        for trial in (A, B, C):
            other.enlist("s", trial, "me")
            prune(other, trial.digest)
    with open_store(here, mode="write", clock=clock) as store:
        store.register("x", {}, [B, C])
        finish(store, B.digest)
        store.end(
            C.digest,
            store.begin(C.digest, Started({}), {}, "me"),
            Ended("failed", 1, 1.0, error="no"),
        )
        assert merge(store, there).imported == 2
        results = store.results([A.digest, B.digest, C.digest])
        assert [(one.state, one.as_planned) for one in results.values()] == [
            ("stopped", "queued"),
            ("done", "done"),
            ("stopped", "queued"),
        ]
        assert curve(store, A.digest) == {(10, "loss"): 3.0, (20, "loss"): 2.0}
        assert [one.record.digest for one in members_with_curves(store, "s")] == [
            A.digest,
            B.digest,
            C.digest,
        ]
        assert merge(store, there).imported == 0
        finish(store, A.digest)
        assert merge(store, there).imported == 0
    with open_store(there, mode="write", clock=clock) as other:
        assert merge(other, here).imported == 2
        assert [one.state for one in other.results([A.digest, B.digest]).values()] == [
            "done",
            "done",
        ]


def test_fits_and_figures_get_no_pruned_trials_and_exports_do(store: Store, tmp_path: Path) -> None:
    store.register("x", {}, [A, B])
    prune(store, A.digest)
    finish(store, B.digest, state="stopped")
    assert frames.trials(store)["digest"].to_list() == [B.digest]
    assert frames.trials(store, ["x"], pruned=True).select(
        "digest", "state", "metrics.pruned"
    ).rows() == [(A.digest, "stopped", 20.0), (B.digest, "stopped", None)]
    written = export(store, tmp_path, "csv")[0].read_text().splitlines()
    assert "metrics.pruned" in written[0]
    assert len(written) == 3


def test_a_search_is_not_mixed_with_a_plan_or_a_table(store: Store) -> None:
    store.register("plan", {"name": "plan"}, [A])
    store.open_experiment("s", SPACE)
    with pytest.raises(
        UserError, match="`plan` is the runs of a plan, and is not mixed with a search over a space"
    ):
        store.open_experiment("plan", SPACE)
    with pytest.raises(
        UserError,
        match=(
            "`s` is a search over a space, and is not mixed with the runs of a plan; give the spec"
            " another"
        ),
    ):
        store.register("s", {"name": "s"}, [A])
    assert [len(store.members(name)) for name in ("plan", "s")] == [1, 0]


def test_a_member_that_is_asked_for_again_keeps_its_place_and_takes_the_new_axes(
    store: Store,
) -> None:
    store.open_experiment("s", SPACE)
    for trial in (A, B, replace(A, axes={"optim.lr": 0.5})):
        store.enlist("s", trial, "me")
    assert [(one.record.digest, one.record.axes) for one in members_with_curves(store, "s")] == [
        (A.digest, {"optim.lr": 0.5}),
        (B.digest, B.axes),
    ]
    assert [is_member(store, name, A.digest) for name in ("s", "x")] == [True, False]
    assert not is_member(store, "s", C.digest)
