"""The conformance suite of stores: everything here holds on SQLite and on PostgreSQL."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.store.conftest import Clock, NewPlace, record

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.plan.cost import Speed
from scalelab.store import claims, open_store, schema
from scalelab.store.curves import curve
from scalelab.store.database import table_of
from scalelab.store.owners import new_owner
from scalelab.store.records import Result
from scalelab.store.store import Store
from scalelab.store.tables import Metrics

A, B, C = record(1), record(2), record(3)
SPEC = {"name": "x", "budget": {"steps": 100}}
HERE = {"commit": "c0ffee", "dirty": None}


def finish(store: Store, digest: str, ended: Ended | None = None, *, resumed: int = 0) -> int:
    attempt = store.begin(digest, Started({"device": "cpu"}, resumed), HERE, "me")
    store.end(digest, attempt, ended or Ended("done", 100, 2.0, {"recall": 0.5}))
    return attempt


def test_what_nobody_registered_is_missing(store: Store) -> None:
    assert store.states([A.digest]) == {A.digest: "missing"}
    assert store.results([A.digest]) == {A.digest: Result("missing")}


def test_registered_trials_are_missing_and_come_back_as_they_went_in(store: Store) -> None:
    trials = [B, replace(A, extra={"note": "ä", "none": None}), C]
    store.register("x", SPEC, trials)
    assert [(one.record, one.result.state) for one in store.members("x")] == [
        (trial, "missing") for trial in trials
    ]


def test_registering_again_changes_nothing(store: Store) -> None:
    store.register("x", SPEC, [A, B])
    finish(store, A.digest)
    store.register("x", SPEC, [A, B])
    assert store.states([A.digest, B.digest]) == {A.digest: "done", B.digest: "missing"}
    assert len(store.members("x")) == 2


def test_thousands_of_trials_pass_the_limits_of_a_statement(store: Store) -> None:
    trials = [record(number) for number in range(1, 6002)]
    store.register("x", SPEC, trials)
    assert list(store.states([trial.digest for trial in trials]).values()) == ["missing"] * 6001


def test_a_trial_belongs_to_two_experiments_with_the_axes_of_each(store: Store) -> None:
    store.register("x", SPEC, [A])
    store.register("y", SPEC, [replace(A, axes={"model.width": 4}, replicate=3)])
    finish(store, A.digest)
    assert [(one.record.axes, one.result.state) for one in store.members("x")] == [
        ({"task.people": 1}, "done")
    ]
    assert [
        (one.record.axes, one.record.replicate, one.result.state) for one in store.members("y")
    ] == [({"model.width": 4}, 3, "done")]
    assert store.trial(A.digest).experiments == ["x", "y"]


def test_what_the_spec_no_longer_has_leaves_the_experiment_and_stays_in_the_store(
    store: Store,
) -> None:
    store.register("x", SPEC, [A, B])
    store.register("y", SPEC, [A])
    finish(store, A.digest)
    store.register("x", SPEC, [C])
    assert [one.record.digest for one in store.members("x")] == [C.digest]
    assert [one.record.digest for one in store.members("y")] == [A.digest]
    assert store.states([A.digest]) == {A.digest: "done"}
    store.register("x", SPEC, [A, B, C])
    assert [(one.record.digest, one.result.state) for one in store.members("x")] == [
        (A.digest, "done"),
        (B.digest, "missing"),
        (C.digest, "missing"),
    ]


def test_a_trial_is_queued_from_the_moment_that_it_is_claimed(store: Store) -> None:
    store.register("x", SPEC, [A, B])
    assert store.claim(A.digest, "me")
    assert store.states([A.digest, B.digest]) == {A.digest: "queued", B.digest: "missing"}
    store.release("me")
    store.register("x", SPEC, [A, B])
    assert [found.states for found in store.experiments()] == [{"queued": 1, "missing": 1}]


def test_an_attempt_from_begin_to_end(store: Store, clock: Clock) -> None:
    store.register("x", SPEC, [A])
    attempt = store.begin(A.digest, Started({"device": "cpu", "threads": 1}), HERE, "me")
    assert store.states([A.digest]) == {A.digest: "running"}
    store.measure(A.digest, attempt, Measured(10, {"loss": 2.0, "recall": 0.25}))
    clock.now += 3
    store.end(
        A.digest,
        attempt,
        Ended("stopped", 20, 1.5, {"recall": 1.0}, artifacts={"model": "a/model.pt"}),
    )
    assert store.results([A.digest]) == {A.digest: Result("stopped", {"recall": 1.0}, 1.5, 20)}
    assert curve(store, A.digest) == {(10, "loss"): 2.0, (10, "recall"): 0.25, (20, "recall"): 1.0}
    found = store.trial(A.digest)
    assert (found.record, found.artifacts) == (A, {"model": "a/model.pt"})
    [kept] = found.attempts
    assert (kept.owner, kept.state, kept.ended, kept.step, kept.seconds) == (
        "me",
        "stopped",
        clock.now,
        20,
        1.5,
    )
    assert (kept.numerics, kept.environment, kept.resumed) == (
        {"device": "cpu", "threads": 1},
        HERE,
        0,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1, 5e-324])
def test_every_float_comes_back_bit_for_bit(store: Store, value: float) -> None:
    store.register("x", SPEC, [A])
    attempt = store.begin(A.digest, Started({}), HERE, "me")
    store.measure(A.digest, attempt, Measured(1, {"loss": value}))
    store.end(A.digest, attempt, Ended("diverged", 2, 1.0, {"loss": value}))
    found = [*curve(store, A.digest).values(), store.results([A.digest])[A.digest].metrics["loss"]]
    assert [number.hex() for number in found] == [value.hex()] * 3


def test_rows_wait_for_each_other_for_half_a_second(store: Store, place: str, clock: Clock) -> None:
    store.register("x", SPEC, [A])
    attempt = store.begin(A.digest, Started({}), HERE, "me")
    with open_store(place, mode="read", clock=clock) as other:
        store.measure(A.digest, attempt, Measured(1, {"loss": 3.0}))
        assert curve(other, A.digest) == {}
        clock.now += 0.6
        store.measure(A.digest, attempt, Measured(2, {"loss": 2.0}))
        assert curve(other, A.digest) == {(1, "loss"): 3.0, (2, "loss"): 2.0}
        store.measure(A.digest, attempt, Measured(3, {"loss": 1.0}))
        store.renew("me")
        assert len(curve(other, A.digest)) == 3


def test_a_state_is_never_written_without_its_last_metrics(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register("x", SPEC, [A])
    attempt = store.begin(A.digest, Started({}), HERE, "me")
    store.measure(A.digest, attempt, Measured(1, {"loss": 3.0}))
    with monkeypatch.context() as patch:
        # The last statement of the transaction fails: all of it is undone, and nothing that waits
        # is dropped.
        patch.setattr(claims, "give_back", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.end(A.digest, attempt, Ended("done", 2, 1.0, {"loss": 2.0}))
    assert store.states([A.digest]) == {A.digest: "running"}
    assert curve(store, A.digest) == {}
    store.end(A.digest, attempt, Ended("done", 2, 1.0, {"loss": 2.0}))
    assert store.states([A.digest]) == {A.digest: "done"}
    assert curve(store, A.digest) == {(1, "loss"): 3.0, (2, "loss"): 2.0}


def test_one_owner_holds_a_claim_until_the_lease_ends(store: Store, clock: Clock) -> None:
    store.register("x", SPEC, [A])
    assert store.claim(A.digest, "me", lease_s=60)
    assert not store.claim(A.digest, "you")
    assert store.claim(A.digest, "me", lease_s=60)
    for _ in range(4):
        clock.now += 25
        store.renew("me", lease_s=60)
    assert not store.claim(A.digest, "you"), "it was renewed"
    for seconds in (30, 29):
        clock.now += seconds
        store.renew("you", lease_s=60)
    assert not store.claim(A.digest, "you")
    clock.now += 1
    assert store.claim(A.digest, "you"), "it was watched for a lease, and stood still"
    assert not store.claim(A.digest, "me")


@pytest.mark.parametrize("skew", [3600.0, -3600.0])
def test_no_driver_believes_the_clock_of_another(
    place: str, store: Store, clock: Clock, skew: float
) -> None:
    store.register("x", SPEC, [A, B])
    assert store.claim(A.digest, "me", lease_s=60)
    with open_store(place, mode="write", clock=lambda: clock() + skew) as other:
        other.watch = claims.Watch(clock)
        for _ in range(10):
            assert not other.claim(A.digest, "you", lease_s=60)
            assert other.unclaimed([A.digest, B.digest], "you", lease_s=60) == [B.digest]
            clock.now += 30
            store.renew("me", lease_s=60)
        clock.now += 30
        assert other.unclaimed([A.digest], "you", lease_s=60) == []
        clock.now += 60
        assert other.unclaimed([A.digest], "you", lease_s=60) == [A.digest]
        assert other.claim(A.digest, "you", lease_s=60)


@pytest.mark.parametrize("is_first", [True, False], ids=["claims first", "renews first"])
def test_time_in_which_nobody_could_renew_frees_no_claim(
    place: str, store: Store, clock: Clock, is_first: bool
) -> None:
    store.register("x", SPEC, [A])
    assert store.claim(A.digest, "me", lease_s=60)
    with open_store(place, mode="write", clock=clock) as other:
        other.watch = claims.Watch(clock)
        other.renew("you", lease_s=60)
        assert not other.claim(A.digest, "you", lease_s=60)
        clock.now += 90  # the database is locked, and can be read
        if is_first:
            assert not other.claim(A.digest, "you", lease_s=60)
        other.renew("you", lease_s=60)
        assert not other.claim(A.digest, "you", lease_s=60)
        for seconds in (30, 29):
            clock.now += seconds
            other.renew("you", lease_s=60)
            assert not other.claim(A.digest, "you", lease_s=60)
        clock.now += 1
        assert other.claim(A.digest, "you", lease_s=60), "it was watched anew for a lease"


def test_a_driver_that_lost_its_claim_writes_nothing_more(
    place: str, store: Store, clock: Clock
) -> None:
    store.register("x", SPEC, [A, B])
    lost = store.begin(A.digest, Started({}), HERE, "slow", lease_s=60)
    mine = store.begin(B.digest, Started({}), HERE, "slow", lease_s=60)
    store.measure(A.digest, lost, Measured(1, {"loss": 1.0}))
    store.flush()
    with open_store(place, mode="write", clock=clock) as other:
        other.watch = claims.Watch(clock)
        assert not other.claim(A.digest, "quick")
        clock.now += 61
        assert other.claim(A.digest, "quick")
        quick = other.begin(A.digest, Started({}, resumed=1), HERE, "quick")
        other.measure(A.digest, quick, Measured(2, {"loss": 0.5}))
        other.flush()
        # `slow` wakes up: what it knows of the trial is not written, what it has of others is.
        store.measure(A.digest, lost, Measured(2, {"loss": 99.0}))
        store.measure(A.digest, lost, Measured(3, {"loss": 99.0}))
        store.measure(B.digest, mine, Measured(3, {"loss": 7.0}))
        store.renew("slow")
        assert not store.end(A.digest, lost, Ended("done", 9, 1.0, {"loss": 99.0}))
        assert store.end(B.digest, mine, Ended("done", 9, 1.0, {"loss": 7.0}))
        with pytest.raises(claims.Taken):
            store.begin(A.digest, Started({}), HERE, "slow")
        assert other.states([A.digest]) == {A.digest: "running"}
        assert curve(other, A.digest) == {(1, "loss"): 1.0, (2, "loss"): 0.5}
        assert curve(other, B.digest) == {(3, "loss"): 7.0, (9, "loss"): 7.0}
        assert other.end(A.digest, quick, Ended("done", 9, 1.0, {"loss": 0.1}))
    assert store.results([A.digest])[A.digest].metrics == {"loss": 0.1}


def test_claims_are_for_what_is_still_to_be_run(store: Store) -> None:
    store.register("x", SPEC, [A, B])
    finish(store, A.digest)
    finish(store, B.digest, Ended("failed", 1, 1.0, error="boom"))
    assert not store.claim("0" * 64, "me")
    assert not store.claim(A.digest, "me")
    assert not store.claim(A.digest, "me", retry=True)
    assert not store.claim(B.digest, "me")
    assert store.claim(B.digest, "me", retry=True)
    assert not store.claim(B.digest, "you", retry=True)


def test_a_refused_claim_leaves_no_trace(store: Store) -> None:
    store.register("x", SPEC, [A])
    finish(store, A.digest, Ended("failed", 1, 1.0))
    assert not store.claim(A.digest, "me")
    assert store.claim(A.digest, "you", retry=True)


def test_what_an_owner_gives_back_is_queued_again(store: Store, clock: Clock) -> None:
    store.register("x", SPEC, [A])
    store.begin(A.digest, Started({}), HERE, "me")
    clock.now += 4
    store.release("me")
    assert store.states([A.digest]) == {A.digest: "queued"}
    [attempt] = store.trial(A.digest).attempts
    assert (attempt.state, attempt.seconds) == ("interrupted", 4.0)
    assert store.claim(A.digest, "you")


def test_a_trial_whose_driver_vanished_is_queued_when_its_lease_ends(
    store: Store, clock: Clock
) -> None:
    store.register("x", SPEC, [A])
    store.begin(A.digest, Started({}), HERE, "me", lease_s=60)
    clock.now += 61
    assert store.states([A.digest]) == {A.digest: "queued"}
    assert [found.states for found in store.experiments()] == [{"queued": 1}]
    finish(store, A.digest)
    assert [attempt.state for attempt in store.trial(A.digest).attempts] == ["lost", "done"]


def test_nobody_waits_for_a_driver_that_was_killed_on_this_machine(store: Store) -> None:
    script = "from scalelab.store.owners import new_owner; print(new_owner())"
    dead = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    store.register("x", SPEC, [A])
    store.begin(A.digest, Started({}), HERE, dead, lease_s=1e6)
    assert store.states([A.digest]) == {A.digest: "queued"}
    assert store.claim(A.digest, new_owner(), lease_s=1e6)
    assert not store.claim(A.digest, "you"), "its new owner lives: this process"


def test_a_second_attempt_goes_on_with_the_curve_it_resumes(store: Store) -> None:
    store.register("x", SPEC, [A])
    first = store.begin(A.digest, Started({}), HERE, "me")
    for step in (10, 20, 30):
        store.measure(A.digest, first, Measured(step, {"loss": 1 / step}))
    store.end(A.digest, first, Ended("failed", 30, 3.0, error="boom"))
    second = store.begin(A.digest, Started({}, resumed=20), HERE, "me")
    store.measure(A.digest, first, Measured(30, {"loss": 99.0}))  # late news of the first
    assert sorted(curve(store, A.digest)) == [(10, "loss"), (20, "loss")]
    store.end(A.digest, second, Ended("done", 40, 2.0, {"loss": 0.01}))
    assert sorted(curve(store, A.digest)) == [(10, "loss"), (20, "loss"), (40, "loss")]
    assert store.results([A.digest])[A.digest] == Result("done", {"loss": 0.01}, 5.0, 40)
    assert [attempt.error for attempt in store.trial(A.digest).attempts] == ["boom", ""]


def test_an_attempt_from_the_start_counts_its_own_seconds(store: Store) -> None:
    store.register("x", SPEC, [A])
    finish(store, A.digest, Ended("failed", 30, 3.0))
    finish(store, A.digest, Ended("done", 40, 2.0))
    assert store.results([A.digest])[A.digest].seconds == 2.0


def test_a_result_outlives_an_attempt_that_was_overtaken(store: Store, clock: Clock) -> None:
    store.register("x", SPEC, [A])
    slow = store.begin(A.digest, Started({}), HERE, "slow", lease_s=60)
    assert not store.claim(A.digest, "quick")
    clock.now += 61
    quick = store.begin(A.digest, Started({}), HERE, "quick")
    store.end(A.digest, quick, Ended("done", 100, 1.0, {"recall": 1.0}))
    store.end(A.digest, slow, Ended("failed", 50, 9.0, error="boom"))
    assert store.results([A.digest])[A.digest] == Result("done", {"recall": 1.0}, 1.0, 100)


def test_a_prefix_finds_one_digest(store: Store) -> None:
    first, second = replace(A, digest="abc1" + "0" * 60), replace(B, digest="abc2" + "0" * 60)
    store.register("x", SPEC, [first, second])
    assert store.find("ABC1") == first.digest
    assert store.find(second.digest) == second.digest
    for wrong, says in (
        ("abc", "several trials: abc1.*, abc2.*; give more digits"),
        ("abd", "no trial"),
        ("%", "no trial"),
        ("", "no trial"),
    ):
        with pytest.raises(UserError, match=says):
            store.find(wrong)


def test_unknown_names_are_sentences(store: Store) -> None:
    store.register("frontier", SPEC, [A])
    with pytest.raises(UserError, match="no experiment `frontire`; did you mean `frontier`"):
        store.members("frontire")
    with pytest.raises(UserError, match="no trial"):
        store.trial("0" * 64)


def test_experiments_count_their_states(store: Store, clock: Clock) -> None:
    store.register("first", SPEC, [A, B])
    clock.now += 1
    store.register("second", {"name": "second"}, [B, C])
    finish(store, B.digest)
    first, second = store.experiments()
    assert (first.name, first.spec, first.states) == ("first", SPEC, {"missing": 1, "done": 1})
    assert (second.name, second.states) == ("second", {"done": 1, "missing": 1})


def test_speed_is_what_was_trained_in_the_attempt(store: Store) -> None:
    store.register("x", SPEC, [A, B, C])
    finish(store, A.digest, Ended("done", 100, 2.0))
    finish(store, B.digest, Ended("stopped", 50, 2.0), resumed=25)
    finish(store, C.digest, Ended("failed", 50, 2.0))
    assert store.speeds() == [Speed(1002, 2**70 / 4 / 2), Speed(1001, 2**70 / 2)]


def test_equal_environments_are_kept_once(store: Store) -> None:
    store.register("x", SPEC, [A, B])
    finish(store, A.digest)
    finish(store, B.digest)
    assert list(store.environments().values()) == [HERE]


CLAIMANT = """
import sys
from scalelab.store import open_store
where, name, *digests = sys.argv[1:]
with open_store(where, mode="write") as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(" ".join(digest for digest in digests if store.claim(digest, name)))
"""


def test_two_processes_never_claim_the_same_trial(place: str) -> None:
    trials = [record(number) for number in range(1, 101)]
    with open_store(place, mode="write") as store:
        store.register("x", SPEC, trials)
    digests = [trial.digest for trial in trials]
    command = [sys.executable, "-c", CLAIMANT, place]
    racers = [
        subprocess.Popen([*command, name, *digests], stdin=-1, stdout=-1, text=True)
        for name in ("me", "you")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    mine, yours = (set(racer.communicate(timeout=60)[0].split()) for racer in racers)
    assert not mine & yours
    assert mine | yours == set(digests)


NOW = schema.VERSION


def test_reading_writes_nothing(place: str) -> None:
    with open_store(place, mode="write") as store:
        store.register("x", SPEC, [A])
    with (
        open_store(place, mode="read") as store,
        pytest.raises(UserError, match="opened for reading"),
    ):
        store.claim(A.digest, "me")


def test_a_store_of_a_newer_version_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", NOW + 1)
        open_store(place, mode="write").close()
    for mode in ("read", "write"):
        with pytest.raises(
            UserError,
            match=rf"newer scalelab: it has schema version {NOW + 1}, .* up to {NOW}; update",
        ):
            open_store(place, mode=mode)


def test_an_older_store_is_brought_up_to_date_when_it_is_written(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(place, mode="write") as store:
        store.register("x", SPEC, [A])
    monkeypatch.setattr(schema, "VERSION", NOW + 1)
    monkeypatch.setattr(schema, "READABLE", NOW + 1)
    monkeypatch.setitem(
        schema.MIGRATIONS,
        NOW,
        lambda connection: connection.exec_driver_sql("ALTER TABLE trials ADD COLUMN note TEXT"),
    )
    with pytest.raises(
        UserError,
        match=f"older schema version {NOW}, and this scalelab reads {NOW + 1} and later",
    ):
        open_store(place, mode="read")
    with open_store(place, mode="write") as store, store.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT digest, note FROM trials").all() == [
            (A.digest, None)
        ]
    open_store(place, mode="read").close()


def test_a_migration_that_fails_changes_nothing(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(place, mode="write").close()

    def migrate(connection: object) -> None:
        connection.exec_driver_sql("ALTER TABLE trials ADD COLUMN note TEXT")  # pyright: ignore
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", NOW + 1)
        patch.setitem(schema.MIGRATIONS, NOW, migrate)
        with pytest.raises(RuntimeError):
            open_store(place, mode="write")
    with open_store(place, mode="write") as store, store.database.reading() as connection:
        assert "note" not in connection.exec_driver_sql("SELECT * FROM trials").keys()  # noqa: SIM118 - keys of a result, no mapping


def test_two_stores_are_two(new_place: NewPlace) -> None:
    with (
        open_store(new_place(), mode="write") as first,
        open_store(new_place(), mode="write") as second,
    ):
        first.register("x", SPEC, [A])
        assert second.states([A.digest]) == {A.digest: "missing"}


def test_no_metric_is_kept_of_a_trial_that_nobody_knows(store: Store) -> None:
    with pytest.raises(AssertionError, match="not registered"):
        store.measure(A.digest, 1, Measured(1, {"loss": 1.0}))
    with store.database.reading() as connection:
        assert connection.execute(table_of(Metrics).select()).all() == []
