"""A search as an Optuna study in a journal file, which optuna-dashboard opens.

The store stays the memory: a journal is a copy.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.core.errors import UserError, reason
from scalelab.core.events import FINISHED, is_pruned
from scalelab.core.files import replacing
from scalelab.spec.objectives import planned_value
from scalelab.spec.space import Space
from scalelab.store.history import members_with_curves
from scalelab.store.reader import Reader
from scalelab.store.records import StoredTrial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def journal_trials(store: Reader, space: Space) -> "list[FrozenTrial]":
    """The trials of a space's experiment that have ended, in the order of asking, as Optuna has
    them.

    Those that are no points of the space, as it was changed since, are left out.
    """
    found = [
        _trial(store, space, member)
        for member in members_with_curves(store, space.name, next(iter(space.objectives)))
    ]
    return [trial for trial in found if trial is not None]


def write_journal(path: Path, space: Space, trials: "Sequence[FrozenTrial]") -> None:
    """Write a study with these trials; a file that is there is replaced.

    Raises UserError where it can't be written.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    from scalelab.optimize.storage import quiet

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with replacing(path) as part, quiet():
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(part)))
            study = optuna.create_study(
                storage=storage, study_name=space.name, directions=list(space.objectives.values())
            )
            study.set_metric_names(list(space.objectives))
            study.add_trials(trials)
    except OSError as error:
        cure = "take a store in a folder that you can write"
        raise UserError(
            f"the journal can't be written: {reason(error)}", cure=cure, where=str(path)
        ) from error


def _trial(store: Reader, space: Space, member: StoredTrial) -> "FrozenTrial | None":
    from optuna.trial import TrialState, create_trial

    from scalelab.optimize.distributions import parameter, parameters_of, point_at, point_of

    record, result = member.record, member.result
    point = point_at(record.axes, space.search) or point_of(record.trial, space.search)
    if point is None or result.state not in (*FINISHED, "failed"):
        return None
    values = [objective_of(metric, member) for metric in space.objectives]
    state = (
        TrialState.COMPLETE
        if result.state in ("done", "stopped") and all(map(math.isfinite, values))
        else TrialState.FAIL
    )
    state = TrialState.PRUNED if is_pruned(result.state, result.metrics) else state
    found = create_trial(
        state=state,
        params=parameters_of(point, space.search),
        distributions={path: parameter(space.search[path]) for path in point},
        values=values if state == TrialState.COMPLETE else None,
        intermediate_values={step: value for step, value in member.curve if math.isfinite(value)},
        user_attrs={"digest": record.digest, "state": result.state},
    )
    attempts = store.trial(record.digest).attempts
    if attempts and attempts[-1].ended is not None:
        found.datetime_start = datetime.fromtimestamp(attempts[0].started)
        found.datetime_complete = datetime.fromtimestamp(attempts[-1].ended)
    return found


def objective_of(metric: str, member: StoredTrial) -> float:
    """A final metric, or what the plan knows: FLOPs, parameters. NaN where the trial has none."""
    record, measured = member.record, member.result.metrics
    if metric in measured:
        return float(measured[metric])
    value = planned_value(metric, record.params, record.flops, record.tokens)
    return math.nan if value is None else float(value)
