"""Stored trials as rows: plain dictionaries in the form of every `--json` answer."""

from collections.abc import Sequence
from typing import Any

from scalelab.core.filter import compile_filter
from scalelab.core.metrics import column_of
from scalelab.plan.diff import flatten
from scalelab.store.reader import Reader
from scalelab.store.records import StoredTrial


def trial_row(experiment: str, stored: StoredTrial) -> dict[str, Any]:
    """A stored trial as a row. A length that nobody knows is None."""
    record, result = stored.record, stored.result
    return {
        "digest": record.digest,
        "state": result.state,
        "experiment": experiment,
        "axes": record.axes,
        "replicate": record.replicate,
        "seed": record.seed,
        "params": record.params,
        "steps": record.steps or None,
        "tokens": record.tokens or None,
        "exposures": record.exposures or None,
        "flops": record.flops or None,
        "seconds": result.seconds,
        "metrics": result.metrics,
        "origin": record.origin,
        "extra": record.extra,
    }


def list_trials(
    store: Reader, experiments: Sequence[str] | None = None, condition: str | None = None
) -> list[dict[str, Any]]:
    """The trials of these experiments (of all, if none is named) that meet a condition (see
    `core.filter`), as rows in the order of their plans.

    Raises UserError for an unknown experiment, and a condition on a column that no trial has.
    """
    names = experiments or [found.name for found in store.experiments()]
    trials = [(name, stored) for name in names for stored in store.members(name)]
    rows = [trial_row(name, stored) for name, stored in trials]
    if condition is None:
        return rows
    is_listed = compile_filter(condition)
    columns = [_columns(stored, row) for (_, stored), row in zip(trials, rows, strict=True)]
    absent = dict.fromkeys(name for column in columns for name in column)
    return [row for row, known in zip(rows, columns, strict=True) if is_listed(absent | known)]


def _columns(stored: StoredTrial, row: dict[str, Any]) -> dict[str, Any]:
    """What a condition may ask about a trial, by column."""
    known = {key: value for key, value in row.items() if key != "axes"}
    trial = flatten(stored.record.trial)
    return {column_of("recall"): None, **trial, **stored.record.axes, **flatten(known)}
