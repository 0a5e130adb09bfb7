"""Killed at every write of a checkpoint and at every statement to the store: the same command goes
on, and ends with what an undisturbed run ends with.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import event
from tests.faults.killing import Countdown, ticking, was_killed

from scalelab.core.events import Ended, Interrupted, Measured, Saved, Started
from scalelab.core.metrics import is_speed
from scalelab.plan.plan import Plan, compile_plan
from scalelab.run.driver import Options, drive
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.spec.load import load
from scalelab.store import open_store
from scalelab.store.curves import curve
from scalelab.store.store import Store
from scalelab.train import train

TRIAL = {
    "task": {"people": 2, "templates": 1},
    "model": {"width": 4},
    "budget": {"steps": 12},
    "batch": 4,
    "evaluation": {"first": 4},
}
OFTEN = Execution.model_validate({"device": "cpu", "checkpoint_every": 1e-9})


def trained(folder: Path) -> dict[str, Any]:
    """Train to the end in a folder; what came of it, without speeds."""
    trial = Trial.model_validate(TRIAL)
    trial = trial.model_copy(update={"model": trial.model.resolved()})
    ended = train(trial, OFTEN, folder=folder)
    values = {name: value for name, value in ended.values.items() if not is_speed(name)}
    return {"state": ended.state, **values, "weights": ended.artifacts["weights_sha256"]}


def every(steps: int) -> Iterator[int]:
    """1, 1 + steps, ..."""
    return count(1, steps)


@pytest.mark.parametrize("steps", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_write_of_a_checkpoint(tmp_path: Path, steps: int) -> None:
    whole = trained(tmp_path / "whole")
    killed = 0
    for tick in every(steps):
        folder = tmp_path / str(tick)

        def work(countdown: Countdown, folder: Path = folder) -> None:
            with ExitStack() as stack:
                stack.enter_context(ticking(countdown, os, "fsync"))
                names = ("open", "mv", "rm_file", "makedirs")
                stack.enter_context(ticking(countdown, LocalFileSystem, *names))
                trained(folder)

        if not was_killed(work, tick):
            break
        killed += 1
        assert trained(folder) == whole
        assert [path.name for path in folder.iterdir()] == ["model.pt"]
    assert killed > 60 / steps


def counted(trial: Trial, execution: Execution, *, emit: Any, stopping: Any, **_: Any) -> Ended:
    """A trial of a few events."""
    emit(Started({"threads": 1}))
    for step in (1, 2, 3):
        emit(Measured(step, {"recall": step / 10, "loss": 1 / step}))
        emit(Saved(step))
        if stopping():
            raise Interrupted
    ended = Ended("done", 4, 1.0, {"recall": 0.4}, artifacts={"weights_sha256": trial.digest()})
    emit(ended)
    return ended


SPEC = "name: small\nbudget: {steps: 10}\naxes: {model.width: [4, 8]}\nreplicates: 2\n"


def contents(store: Store, plan: Plan) -> list[Any]:
    """Everything that a run is for."""
    trials = [store.trial(planned.digest) for planned in plan.trials]
    curves = [curve(store, planned.digest) for planned in plan.trials]
    results = [(trial.result.state, trial.result.metrics, trial.artifacts) for trial in trials]
    return [results, curves]


@pytest.mark.parametrize("steps", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_statement_to_the_store(tmp_path: Path, steps: int) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    plan = compile_plan(*load(tmp_path / "spec.yaml"))
    options = Options("inline", stream=StringIO())

    def run(path: Path, countdown: Callable[..., None] | None = None) -> list[Any]:
        with open_store(path, mode="write") as store:
            if countdown is not None:
                event.listen(store.database.engine, "before_cursor_execute", countdown)
                event.listen(store.database.engine, "commit", countdown)
            drive(plan, store, options, worker=counted)
            return contents(store, plan)

    whole = run(tmp_path / "whole.db")
    killed = 0
    for tick in every(steps):
        path = tmp_path / f"{tick}.db"

        def work(countdown: Countdown, path: Path = path) -> None:
            run(path, countdown)

        if not was_killed(work, tick):
            break
        killed += 1
        assert run(path) == whole, tick
    assert killed > 100 / steps
