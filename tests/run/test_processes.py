"""Drivers in processes of their own: killed, interrupted, and two on one store."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from tests.run.processes import family, is_alive, is_named

from scalelab.core.errors import UserError
from scalelab.plan.plan import Plan
from scalelab.run.desk import GRACE_S
from scalelab.store import open_store

DRIVEN = Path(__file__).with_name("driven.py")

EIGHT = """
name: eight
budget: {steps: 10}
axes:
  model.width: [4, 8]
replicates: 4
"""


class Driven:
    """Starts drivers on one store and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.processes = (
            folder,
            folder / "store.db",
            list[subprocess.Popen[str]](),
        )

    def start(self, *options: str) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            str(DRIVEN),
            str(self.store),
            str(self.folder / "spec.yaml"),
            *options,
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "the driver did not come so far"
            time.sleep(0.02)

    def runs(self) -> list[str]:
        """The digest of every trial that ran to its end, in order."""
        path = self.folder / "runs"
        return path.read_text().splitlines() if path.exists() else []

    def is_running(self, plan: Plan) -> bool:
        """Whether some trial has begun."""
        with suppress(UserError):  # no store yet, or an empty one
            return self.states(plan)["running"] > 0
        return False

    def states(self, plan: Plan) -> Counter[str]:
        with open_store(self.store, mode="read") as store:
            return Counter(store.states([planned.digest for planned in plan.trials]).values())


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    started = Driven(tmp_path)
    yield started
    for process in started.processes:
        process.kill()
        process.communicate()


def test_a_killed_driver_loses_no_finished_trial_and_the_same_command_goes_on(
    driven: Driven, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--pace", "0.05")
    driven.wait_for(lambda: len(driven.runs()) >= 3)
    time.sleep(0.25)  # well into the next trial
    first.kill()
    first.wait()
    finished = driven.runs()
    done = driven.states(plan)["done"]
    assert done == len(finished)
    second = driven.start("--pace", "0")
    out, error = second.communicate(timeout=30)  # it doesn't wait for the dead driver's lease
    assert (second.returncode, error) == (0, "")
    assert driven.states(plan) == {"done": 8}
    assert all(count == 1 for digest, count in Counter(driven.runs()).items() if digest in finished)
    assert f"{done} trials had their result before" in out


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
QUICK = {
    ("inline", signal.SIGINT, True),
    ("ray", signal.SIGINT, True),
    ("inline", signal.SIGTERM, False),
    ("ray", signal.SIGTERM, True),
    ("inline", signal.SIGHUP, True),
    ("inline", signal.SIGUSR1, False),
}
"""What the fast tests try; the slow ones try all."""


@pytest.mark.parametrize(
    ("executor", "number", "group"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in product(("inline", "ray"), SIGNALS, (True, False))
    ],
)
def test_a_signal_saves_and_the_same_command_goes_on(
    driven: Driven,
    make_plan: Callable[..., Plan],
    executor: str,
    number: signal.Signals,
    group: bool,
) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--executor", executor, "--pace", "0.1")
    driven.wait_for(lambda: len(driven.runs()) >= 2)
    time.sleep(0.3)  # well into the next trials
    asked = time.monotonic()
    (os.killpg if group else os.kill)(first.pid, number)  # a terminal signals every process
    out, error = first.communicate(timeout=60)
    assert (first.returncode, error) == (128 + number, "")
    assert time.monotonic() - asked < (2 if executor == "inline" else 12)
    said = "interrupted" if number == signal.SIGINT else f"interrupted by {number.name}"
    assert f"{said}: running trials save their position" in out
    assert f"{said}: what was finished is kept" in out
    states = driven.states(plan)
    assert states["done"] == len(driven.runs())
    assert states["queued"] + states["missing"] == 8 - states["done"]
    assert states["queued"] == (1 if executor == "inline" else 2)
    positions = list((driven.folder / "trials").glob("*/step"))
    assert len(positions) == (1 if executor == "inline" else 2)
    second = driven.start("--pace", "0")
    out, error = second.communicate(timeout=60)
    assert (second.returncode, error) == (0, "")
    assert sorted(driven.runs()) == sorted(planned.digest for planned in plan.trials)
    with open_store(driven.store, mode="read") as store:
        attempts = store.trial(positions[0].parent.name).attempts
    assert [(attempt.state, attempt.resumed > 0) for attempt in attempts] == [
        ("interrupted", False),
        ("done", True),
    ]


@pytest.mark.parametrize(
    "executor",
    [pytest.param("inline", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.slow)],
)
def test_a_trial_that_does_not_hear_is_given_up(
    driven: Driven, make_plan: Callable[..., Plan], executor: str
) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--executor", executor, "--pace", "3", "--deaf")
    driven.wait_for(lambda: driven.is_running(plan))
    asked = time.monotonic()
    os.kill(first.pid, signal.SIGTERM)
    error = first.communicate(timeout=60)[1]
    assert (first.returncode, error) == (143, "")
    assert GRACE_S < time.monotonic() - asked < GRACE_S + 8
    assert driven.states(plan)["running"] == 0
    second = driven.start("--pace", "0")
    assert second.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("harm", "twice"),
    [
        (signal.SIGSTOP, True),
        pytest.param(signal.SIGSTOP, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, False, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_whose_ray_no_longer_answers(
    driven: Driven, make_plan: Callable[..., Plan], harm: signal.Signals, twice: bool
) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--executor", "ray", "--pace", "0.1")
    driven.wait_for(lambda: driven.is_running(plan))
    [head] = [process for process in family(first.pid) if is_named(process, "gcs_server")]
    os.kill(head, harm)
    time.sleep(0.5)
    asked = time.monotonic()
    os.kill(first.pid, signal.SIGTERM)
    if twice:
        time.sleep(0.5)
        os.kill(first.pid, signal.SIGTERM)
    out, error = first.communicate(timeout=60)
    assert (first.returncode, error) == (143, ""), out
    assert time.monotonic() - asked < (GRACE_S if twice else GRACE_S + 10)
    assert driven.states(plan)["running"] == driven.states(plan)["failed"] == 0
    assert driven.start("--pace", "0").wait(timeout=60) == 0


@pytest.mark.slow
def test_what_a_killed_driver_left_of_ray_is_gone_when_the_next_run_starts(
    driven: Driven, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--executor", "ray", "--pace", "0.1")
    driven.wait_for(lambda: driven.is_running(plan))
    processes = family(first.pid)
    first.kill()
    first.wait()
    out, error = driven.start("--pace", "0").communicate(timeout=90)
    assert (error, driven.states(plan)) == ("", {"done": 8}), out
    assert not any(is_alive(process) for process in processes)


def test_a_second_signal_ends_at_once(driven: Driven, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(EIGHT)
    first = driven.start("--pace", "1", "--deaf")
    driven.wait_for(lambda: driven.is_running(plan))
    asked = time.monotonic()
    os.kill(first.pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(first.pid, signal.SIGTERM)
    first.communicate(timeout=60)
    assert time.monotonic() - asked < 3
    assert first.returncode == 143
    assert driven.states(plan)["running"] == 0


def test_an_ignored_signal_stays_ignored(driven: Driven, make_plan: Callable[..., Plan]) -> None:
    make_plan(EIGHT)
    process = driven.start("--pace", "0.05", "--nohup")
    driven.wait_for(lambda: len(driven.runs()) >= 1)
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert len(driven.runs()) == 8


def test_a_time_limit_stops_like_an_interrupt_with_a_message_of_its_own(
    driven: Driven, make_plan: Callable[..., Plan]
) -> None:
    make_plan(EIGHT)
    process = driven.start("--pace", "0.1", "--time", "1.5")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert "out of time" in out
    assert len(list((driven.folder / "trials").glob("*/step"))) == 1


def test_two_drivers_on_one_store_share_the_trials_and_run_none_twice(
    driven: Driven, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan(EIGHT)
    both = [driven.start("--pace", "0.04") for _ in range(2)]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [error for _, error in outs] == ["", ""]
    assert sorted(driven.runs()) == sorted(planned.digest for planned in plan.trials)
    with open_store(driven.store, mode="read") as store:
        attempts = [store.trial(planned.digest).attempts for planned in plan.trials]
    assert all(len(one) == 1 for one in attempts)
    assert len({one[0].owner for one in attempts}) == 2


def test_a_killed_driver_with_ray_loses_no_finished_trial_either(
    driven: Driven, make_plan: Callable[..., Plan], ray_session: None
) -> None:
    import ray

    plan = make_plan(EIGHT)
    # In the tests' own Ray, so that no part of Ray is orphaned; and that a run joins a cluster by
    # its address is seen on the way.
    address = ray.get_runtime_context().gcs_address
    first = driven.start("--executor", "ray", "--address", address, "--pace", "0.1")
    driven.wait_for(lambda: len(driven.runs()) >= 3)
    time.sleep(0.4)  # well into the next trials
    first.kill()
    first.communicate()
    done = driven.states(plan)["done"]
    assert done >= 3
    out, _ = driven.start("--pace", "0").communicate(timeout=30)
    assert driven.states(plan) == {"done": 8}
    assert f"{done} trials had their result before" in out
