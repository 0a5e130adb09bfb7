"""What a run leaves, and workers that can be broken at a chosen trial."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from scalelab.core.events import Ended, Interrupted, Measured, Started
from scalelab.store.database import table_of
from scalelab.store.store import Store
from scalelab.store.tables import Metrics, Trials

_trials, _metrics = table_of(Trials), table_of(Metrics)


def content(store: Store, experiment: str = "small") -> dict[str, Any]:
    """Everything that two runs of a plan have in common: results, curves, members."""
    query = select(_trials.c.digest, _metrics.c.name, _metrics.c.step, _metrics.c.value)
    with store.database.reading() as connection:
        points = connection.execute(query.join(_metrics, _metrics.c.trial == _trials.c.id))
        curves = sorted(tuple(point) for point in points)
    rows = [
        (
            one.record.digest,
            one.record.axes,
            one.result.state,
            one.result.step,
            one.result.metrics,
        )
        for one in store.members(experiment)
    ]
    return {"members": rows, "curves": curves}


def breaking(at: int, harm: Callable[[], object], *, waits: bool = False) -> Any:
    """A worker that does some harm in the middle of its trial number `at`; with `waits` this one
    then goes on until it is told to stop.
    """
    begun: list[str] = []

    def work(trial, execution, *, folder, emit, stopping, pruned):
        begun.append(trial.digest())
        emit(Started({"threads": 1}))
        emit(Measured(5, {"recall": 0.25, "loss": float(trial.model.width)}))
        if len(begun) == at:
            harm()
            while waits:
                if stopping():
                    raise Interrupted
        ended = Ended("done", 10, 0.5, {"recall": 0.5 + trial.seed / 4})
        emit(ended)
        return ended

    return work
