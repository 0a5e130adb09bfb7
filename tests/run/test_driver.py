"""The driver with a real store, in this process."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from tests.run.conftest import GRID

from scalelab.core.errors import UserError
from scalelab.core.events import Advanced, Ended, Measured, Saved, Started
from scalelab.plan.plan import Plan
from scalelab.run import driver
from scalelab.run.driver import Options, Summary, drive, heartbeat
from scalelab.run.executors.base import OUT_OF_MEMORY, Worker
from scalelab.store.owners import new_owner
from scalelab.store.store import Store

FRONTIER = """
name: cells
budget: {steps: 10}
axes:
  task.people: [2, 4, 8]
  model.width: [4, 8, 12, 16]
replicates: 2
search: {kind: frontier}
"""


def recall_grows(trial, execution, *, folder, emit, stopping, pruned):
    """Two widths for each person pass."""
    emit(Started({"threads": execution.threads}))
    emit(Measured(5, {"recall": 0.2}))
    recall = min(1.0, trial.model.width / (2 * trial.task.people))
    ended = Ended("stopped" if recall == 1 else "done", 10, 0.5, {"recall": recall})
    emit(ended)
    return ended


def failing(times: int, seed: int = 1):
    """Fails for one seed, so many times."""
    calls = []

    def work(trial, execution, *, folder, emit, stopping, pruned):
        if trial.seed == seed and len(calls) < times:
            calls.append(trial.model.width)
            raise RuntimeError(f"failure {len(calls)}")
        return recall_grows(
            trial, execution, folder=folder, emit=emit, stopping=stopping, pruned=pruned
        )

    return work


def slowly(trial, execution, *, folder, emit, stopping, pruned):
    """A second and a half with news of how far it is."""
    emit(Started({}))
    for step in range(1, 11):
        time.sleep(0.15)
        emit(Advanced(step, step / 10))
    ended = Ended("done", 10, 1.0)
    emit(ended)
    return ended


def test_the_bar_of_a_terminal_moves_within_a_trial(
    make_plan: Callable[..., Plan],
    store: Store,
    executor: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")  # the rest of the bar is blank then
    monkeypatch.setenv("TERM", "xterm")
    plan = make_plan("name: two\nbudget: {steps: 10}\nreplicates: 2\n")
    frames = bytearray()
    leader, follower = pty.openpty()

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while part := os.read(leader, 1 << 16):
                frames.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w") as terminal:
        options = Options(executor=executor, stream=terminal, jobs=1)  # type: ignore[arg-type]
        drive(plan, store, options, worker=slowly)
    reader.join()
    os.close(leader)
    lines = frames.decode().split("\r")
    first = [line.count("━") for line in lines if "0/2 trials" in line]
    assert 1 <= max(first) <= 10, lines
    second = [line.count("━") for line in lines if "1/2 trials" in line]
    assert min(second) >= 10, lines  # a long text takes no room from the bar
    assert max(second) > 10, lines
    assert len(store.trial(plan.trials[0].digest).attempts) == 1


def test_a_grid_is_run_and_written_down(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    summary = drive(plan, store, inline, worker=recall_grows)
    assert (summary.outcomes, summary.known, summary.failed, summary.exit_code) == (
        {"done": 4},
        0,
        {},
        0,
    )
    members = store.members("small")
    assert [(one.record.digest, one.result.state) for one in members] == [
        (planned.digest, "done") for planned in plan.trials
    ]
    record, result = members[-1].record, members[-1].result
    assert (record.axes, record.replicate, record.seed, record.steps) == (
        {"model.width": 8},
        1,
        1,
        10,
    )
    assert (result.metrics, result.step) == ({"recall": 0.25}, 10)
    attempt = store.trial(record.digest).attempts[0]
    assert (attempt.numerics, attempt.state) == ({"threads": 1}, "done")
    assert "argv" in attempt.environment


def test_run_again_there_is_nothing_to_run(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    drive(make_plan(), store, inline, worker=recall_grows)
    again = drive(make_plan(), store, inline, worker=failing(99))
    assert (again.outcomes, again.known, again.exit_code) == ({}, 4, 0)
    assert str(again).startswith("nothing to run in 0.")


def test_a_wider_axis_runs_what_is_new(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    drive(make_plan(), store, inline, worker=recall_grows)
    wider = make_plan(
        "name: wide\nbudget: {steps: 10}\naxes: {model.width: [4, 8, 12]}\nreplicates: 2\n"
    )
    summary = drive(wider, store, inline, worker=recall_grows)
    assert (summary.outcomes, summary.known) == ({"done": 2}, 4)


def test_an_experiment_is_what_its_spec_says_now(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    before = make_plan()
    drive(before, store, inline, worker=recall_grows)
    now = make_plan("name: small\nbudget: {steps: 10}\naxes: {model.width: [8, 12]}\n")
    drive(now, store, inline, worker=recall_grows)
    assert [one.record.digest for one in store.members("small")] == [
        planned.digest for planned in now.trials
    ]
    fewer = "name: small\nbudget: {steps: 10}\naxes: {model.width: [8]}\n"
    drive(make_plan(fewer), store, inline, worker=recall_grows)
    assert len(store.members("small")) == len(make_plan(fewer).trials) == 1, (
        "though nothing was to run"
    )
    assert set(store.states([planned.digest for planned in before.trials]).values()) == {"done"}, (
        "the trials stay"
    )


def test_a_chosen_part_is_run_and_the_whole_plan_written_down(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    chosen = replace(plan, trials=plan.trials[:1])
    assert drive(plan, store, inline, chosen=chosen, worker=recall_grows).outcomes == {"done": 1}
    assert [one.result.state for one in store.members("small")] == [
        "done",
        "missing",
        "missing",
        "missing",
    ]
    assert drive(plan, store, inline, chosen=chosen, worker=recall_grows).known == 1


@pytest.mark.parametrize(
    ("options", "execution", "says"),
    [
        (
            Options("inline"),
            "device: cuda",
            (
                "`execution.device` is cuda, and this machine has none .*; set `execution.device:"
                " auto`"
            ),
        ),
        (Options("inline"), "device: mps", "`execution.device` is mps"),
        (Options("ray"), "device: cuda", "`execution.device` is cuda"),
        (Options("ray"), "threads: 64", "asks for 64 CPUs"),
    ],
)
def test_a_run_that_is_refused_writes_nothing(
    make_plan: Callable[..., Plan],
    store: Store,
    ray_session: None,
    monkeypatch: pytest.MonkeyPatch,
    options: Options,
    execution: str,
    says: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    plan = make_plan(f"name: small\nbudget: {{steps: 10}}\nexecution: {{{execution}}}\n")
    with pytest.raises(UserError, match=says):
        drive(plan, store, replace(options, stream=StringIO()), worker=recall_grows)
    assert store.experiments() == []
    assert set(store.states([plan.trials[0].digest]).values()) == {"missing"}


def test_a_frontier_runs_what_decides_and_nothing_on_the_second_time(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan(FRONTIER)
    summary = drive(plan, store, inline, worker=recall_grows)
    states = store.states([planned.digest for planned in plan.trials])
    assert summary.outcomes == {"stopped": 6, "done": 6}
    assert sum(state == "missing" for state in states.values()) == len(plan.trials) - 12, (
        "what was never asked for is not queued"
    )
    again = drive(plan, store, inline, worker=recall_grows)
    assert (again.outcomes, again.known) == ({}, 12)


def test_a_failure_is_tried_again_within_the_bound(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    summary = drive(plan, store, inline, worker=failing(1))
    assert summary.outcomes == {"done": 4}
    assert summary.exit_code == 0
    attempts = [
        store.trial(planned.digest).attempts for planned in plan.trials if planned.trial.seed == 1
    ]
    assert sorted([attempt.state for attempt in one] for one in attempts) == [
        ["done"],
        ["failed", "done"],
    ]
    assert "RuntimeError: failure 1" in attempts[0][0].error


def dying(saves: Sequence[int]) -> Worker:
    """A worker that dies once after each of these steps of its newest checkpoint."""
    left: dict[str, list[int]] = {}

    def die(trial, execution, *, folder, emit, stopping, pruned):
        steps = left.setdefault(trial.digest(), list(saves))
        if not steps:
            return recall_grows(
                trial, execution, folder=folder, emit=emit, stopping=stopping, pruned=pruned
            )
        emit(Started({}))
        emit(Saved(steps[0]))
        ended = Ended("failed", steps.pop(0), 1.0, error="The worker died.", cause="death")
        emit(ended)
        return ended

    return die


@pytest.mark.parametrize(
    ("saves", "outcome"),
    [([10, 20, 30, 40], "done"), ([10, 10], "failed"), ([10, 20, 20], "failed"), ([0], "failed")],
)
def test_the_death_of_a_worker_after_progress_is_not_counted(
    make_plan: Callable[..., Plan],
    store: Store,
    inline: Options,
    saves: list[int],
    outcome: str,
) -> None:
    plan = make_plan(f"{GRID}execution: {{retries: 0}}\n")
    summary = drive(plan, store, inline, worker=dying(saves))
    assert summary.outcomes == {outcome: 4}
    attempts = store.trial(plan.trials[0].digest).attempts
    assert len(attempts) == len(saves) + (outcome == "done")


def test_what_ran_out_of_memory_is_not_tried_again(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MemoryError

    plan = make_plan(f"{GRID}execution: {{retries: 3}}\n")
    summary = drive(plan, store, inline, worker=full)  # pyright: ignore[reportArgumentType]
    assert summary.outcomes == {"failed": 4}
    [attempt] = store.trial(plan.trials[0].digest).attempts
    assert attempt.error.endswith(OUT_OF_MEMORY)


def test_a_trial_that_fails_for_good_is_told_and_left_alone_until_it_is_asked_for(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    summary = drive(plan, store, inline, worker=failing(4))
    assert (summary.outcomes, summary.exit_code) == ({"done": 2, "failed": 2}, 1)
    assert sorted(summary.failed) == sorted(
        planned.digest for planned in plan.trials if planned.trial.seed == 1
    )
    assert "RuntimeError: failure 2" in str(summary)
    again = drive(plan, store, inline, worker=recall_grows)
    assert (again.outcomes, again.known, again.failed_before, again.exit_code) == ({}, 2, 2, 1)
    assert "--retry-failed" in str(again)
    retried = drive(plan, store, replace(inline, retry_failed=True), worker=recall_grows)
    assert (retried.outcomes, retried.exit_code) == ({"done": 2}, 0)


def test_no_retry_where_the_spec_wants_none(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan(
        "name: once\nbudget: {steps: 10}\naxes: {model.width: [4]}\nreplicates: 2\nexecution:"
        " {retries: 0}\n"
    )
    assert drive(plan, store, inline, worker=failing(1)).outcomes == {"done": 1, "failed": 1}


def test_what_another_driver_runs_is_waited_for(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    driver.register(plan, store)
    taken = plan.trials[0].digest
    assert store.claim(taken, "another")

    def finish_elsewhere() -> None:
        time.sleep(0.5)
        store.end(
            taken,
            store.begin(taken, Started({}), {}, "another"),
            Ended("done", 10, 1.0, {"recall": 0.5}),
        )

    other = threading.Thread(target=finish_elsewhere)
    other.start()
    summary = drive(plan, store, inline, worker=recall_grows)
    other.join()
    assert (summary.outcomes, summary.exit_code) == ({"done": 3}, 0)
    assert isinstance(inline.stream, StringIO)
    assert inline.stream.getvalue().count("another driver works on this store") == 1
    assert [attempt.owner for attempt in store.trial(taken).attempts] == ["another"]


def test_what_another_driver_leaves_is_run(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    plan = make_plan()
    driver.register(plan, store)
    assert store.claim(plan.trials[0].digest, "another", lease_s=1.0)
    assert drive(plan, store, inline, worker=recall_grows).outcomes == {"done": 4}


def test_what_a_dead_driver_of_this_machine_held_is_free_at_once(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    machine = new_owner().rpartition("/")[0].rpartition("/")[0]
    dead = f"{machine}/{gone.pid}/0"
    plan = make_plan()
    driver.register(plan, store)
    assert store.claim(plan.trials[0].digest, dead, lease_s=600)
    store.begin(plan.trials[0].digest, Started({}), {}, dead, lease_s=600)
    assert drive(plan, store, inline, worker=recall_grows).outcomes == {"done": 4}
    assert [attempt.state for attempt in store.trial(plan.trials[0].digest).attempts] == [
        "lost",
        "done",
    ]


def test_claims_are_given_back_when_the_worker_breaks_the_driver(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    def second_ctrl_c(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        raise KeyboardInterrupt

    plan, before = make_plan(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        drive(plan, store, inline, worker=second_ctrl_c)
    assert (
        list(store.states([planned.digest for planned in plan.trials]).values())
        == ["queued"] + ["missing"] * 3
    )
    assert signal.getsignal(signal.SIGINT) is before


def test_what_fails_after_a_signal_was_interrupted_by_it(
    make_plan: Callable[..., Plan], store: Store, inline: Options
) -> None:
    def compiling(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("the same signal has ended the compiler")

    plan = make_plan()
    summary = drive(plan, store, inline, worker=compiling)
    assert (summary.signal, summary.outcomes, summary.failed) == (signal.SIGTERM, {}, {})
    attempts = [store.trial(planned.digest).attempts for planned in plan.trials]
    assert [one.state for trial in attempts for one in trial] == ["interrupted"]


def test_a_full_disk_comes_out_as_a_sentence(
    make_plan: Callable[..., Plan], store: Store, inline: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise UserError("the disk is full", cure="make room")

    monkeypatch.setattr(store, "end", full)
    with pytest.raises(UserError, match="the disk is full; make room"):
        drive(make_plan(), store, inline, worker=recall_grows)


def test_the_heart_beats_on_though_one_beat_fails() -> None:
    beats: list[int] = []

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 1:
            raise UserError("busy")

    with heartbeat(beat, every_s=0.01):
        time.sleep(0.2)
    assert len(beats) > 1
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count


def test_ray_drives_the_same_plan(
    make_plan: Callable[..., Plan], store: Store, inline: Options, ray_session: None
) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    plan = make_plan(FRONTIER)
    assert drive(plan, store, replace(inline, executor="ray"), worker=recall_grows).outcomes == {
        "stopped": 6,
        "done": 6,
    }


def test_without_ray_and_what_draws_the_inline_executor_works(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    make_plan()
    driven = Path(__file__).with_name("driven.py")
    program = f"""
import runpy, sys
absent = ["ray", "polars", "altair", "optuna", "pandas", "pyarrow", "scipy", "rich", "torch"]
sys.modules.update(dict.fromkeys(absent))
sys.argv = ["driven.py", {str(tmp_path / "s.db")!r}, {str(tmp_path / "spec.yaml")!r}, "--pace", "0"]
runpy.run_path({str(driven)!r}, run_name="__main__")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "4 done" in ended.stdout


def test_without_ray_the_ray_executor_says_the_cure(
    make_plan: Callable[..., Plan], store: Store, inline: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; .*--executor inline"):
        drive(make_plan(), store, replace(inline, executor="ray"))
    assert store.experiments() == []


def test_a_summary_says_how_to_go_on() -> None:
    stopped = Summary({"done": 3}, 0, {}, 61.0, stopped="out of time")
    assert stopped.exit_code == 130
    assert (
        str(stopped).splitlines()[-1]
        == "out of time: what was finished is kept, what was running saved its position, and the"
        " same command goes on from here"
    )
