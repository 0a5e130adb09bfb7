"""The training loop: one function that reads top to bottom, and the pieces that it is made of."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from scalelab.core.events import (
    PRUNED,
    Advanced,
    Ended,
    Event,
    Interrupted,
    Noted,
    Outcome,
    Saved,
    Started,
)
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train.attempt import Attempt
from scalelab.train.numerics import numerics
from scalelab.train.process import prepare

GUARD_EVERY = 50
"""Steps between looks at the loss for NaN or infinity: each look waits for the device."""

TELL_EVERY_S = 1.0
"""Seconds between two words of how far a trial is."""


def train(
    trial: Trial,
    execution: Execution,
    *,
    folder: str | Path | None = None,
    layers_sha256: str | None = None,
    emit: Callable[[Event], None] = lambda event: None,
    stopping: Callable[[], bool] = lambda: False,
    pruned: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run one trial to its end and tell what happens through `emit`.

    `folder` (a path or URL) keeps the checkpoint and at the end the model; without one nothing is
    kept. A checkpoint found there is gone on from, bit for bit. Raises Interrupted, after a
    checkpoint, where `stopping()` turns true, be it in the middle of an evaluation: that one is
    then repeated. Where `pruned()` is true after an evaluation, the trial ends there: its final
    metrics are the evaluation's, and it keeps its checkpoint instead of a model. `layers_sha256`
    proves the file whose layers the trial takes; raises Unreadable where it is another.
    """
    prepare(execution.threads)
    began = time.perf_counter()
    attempt = Attempt(
        trial, execution, None if folder is None else str(folder), stopping, layers_sha256
    )
    emit(Started(numerics(attempt.execution, attempt.device), resumed=attempt.step))
    for note in attempt.notes:
        emit(Noted(f"{note}; the trial goes on from step {attempt.step}"))
    for measured in attempt.curve:
        emit(measured)
    try:
        state = loop(attempt, emit, stopping, pruned)
        ended = _ended(attempt, state, began)
    except Interrupted:
        attempt.save()
        raise
    emit(ended)
    return ended


def _ended(attempt: Attempt, state: Outcome | Literal["pruned"], began: float) -> Ended:
    if state == "pruned":
        attempt.save()
        last = attempt.curve[-1]
        return Ended(
            "stopped", last.step, time.perf_counter() - began, {**last.values, PRUNED: last.step}
        )
    values = attempt.final(state)
    return Ended(state, attempt.step, time.perf_counter() - began, values, artifacts=attempt.keep())


def loop(
    attempt: Attempt,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool],
    pruned: Callable[[], bool],
) -> Outcome | Literal["pruned"]:
    """Update and measure until the trial has come to its end, which may be before its budget's."""
    told = time.monotonic()
    while True:
        if attempt.is_due:
            emit(attempt.measure())
        if attempt.is_over:
            return "done"
        if attempt.has_passed:
            return "stopped"
        if pruned():
            return "pruned"
        if stopping():
            raise Interrupted
        if attempt.save_when_due():
            emit(Saved(attempt.step))
        attempt.update()
        if time.monotonic() - told >= TELL_EVERY_S:
            emit(Advanced(attempt.step, attempt.share))
            told = time.monotonic()
        if (attempt.is_due or attempt.step % GUARD_EVERY == 0) and not attempt.is_finite():
            return "diverged"
