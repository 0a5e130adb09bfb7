"""The training loop: one function that reads top to bottom, and the pieces that it is made of."""

import time
from collections.abc import Callable
from pathlib import Path

from scalelab.core.events import Ended, Event, Interrupted, Measured, Outcome, Started
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train.attempt import Attempt
from scalelab.train.numerics import numerics
from scalelab.train.process import prepare

GUARD_EVERY = 50
"""Steps between looks at the loss for NaN or infinity: each look waits for the device."""


def train(
    trial: Trial,
    execution: Execution,
    *,
    folder: str | Path | None = None,
    emit: Callable[[Event], None] = lambda event: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run one trial to its end and tell what happens through `emit`.

    `folder` (a path or URL) keeps the checkpoint and at the end the model; without one nothing is kept. A checkpoint
    found there is gone on from, bit for bit. Raises Interrupted, after a checkpoint, where `stopping()` turns true.
    """
    prepare(execution.threads)
    began = time.perf_counter()
    attempt = Attempt(trial, execution, None if folder is None else str(folder))
    emit(Started(numerics(execution, attempt.device), resumed=attempt.step))
    evaluated = set(trial.evaluation.steps(attempt.steps))
    state: Outcome = "done"
    while attempt.step < attempt.steps:
        attempt.update()
        if (attempt.step in evaluated or attempt.step % GUARD_EVERY == 0) and not attempt.is_finite():
            state = "diverged"
            break
        if attempt.step in evaluated:
            values = attempt.measure()
            emit(Measured(attempt.step, values))
            if attempt.has_passed(values) and attempt.step < attempt.steps:
                state = "stopped"
                break
        if stopping():
            attempt.save()
            raise Interrupted
        attempt.save_when_due()
    ended = Ended(state, attempt.step, time.perf_counter() - began, attempt.final(state), artifacts=attempt.keep())
    emit(ended)
    return ended
