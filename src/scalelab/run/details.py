"""Everything that is known of one stored trial: its row, its budget as it was written, its older
recipes, its attempts; and in what two trials differ.
"""

from dataclasses import fields
from typing import Any

from scalelab.core.metrics import is_speed
from scalelab.plan.diff import flatten
from scalelab.plan.written import written
from scalelab.run.older import older_parts
from scalelab.store.listing import trial_row
from scalelab.store.records import TrialDetails


def details(stored: TrialDetails) -> dict[str, Any]:
    """A stored trial with everything that the store knows of it but its curves, for `--json`."""
    return {
        **trial_row(", ".join(stored.experiments), stored),
        "trial": stored.record.trial,
        "experiments": stored.experiments,
        "artifacts": stored.artifacts,
        "older_recipe": older_parts(stored.record),
        "budget": budget_of(stored),
        "attempts": [
            {field.name: getattr(attempt, field.name) for field in fields(attempt)}
            for attempt in stored.attempts
        ],
    }


def budget_of(stored: TrialDetails) -> dict[str, Any]:
    """`written`: as the spec of the first experiment says it, without defaults, None where that is
    not known; `resolved`: what came of it; `solved`: path -> size; `params`: the parameter budget
    and the parameters that were reached.
    """
    record, spec = stored.record, written(stored.spec, stored.record.axes)
    asked = None if spec is None else spec.budget.params
    sizes = flatten(record.trial)
    return {
        "written": None if spec is None else spec.budget.model_dump(exclude_defaults=True),
        "resolved": {
            "steps": record.steps or None,
            "tokens": record.tokens or None,
            "exposures": record.exposures or None,
            "flops": record.flops or None,
        },
        "solved": {path: sizes[path] for path in (spec.solved if spec else ()) if path in sizes},
        "params": None
        if asked is None
        else {
            "convention": asked.convention,
            "target": asked.target,
            "reached": record.params.get(asked.convention),
        },
    }


def differences(first: TrialDetails, second: TrialDetails) -> dict[str, list[Any]]:
    """Path -> its two values, of what two trials differ in: fields, sizes, states and metrics; not
    speeds.
    """
    sides = [_flat(first), _flat(second)]
    paths = dict.fromkeys([*sides[0], *sides[1]])
    pairs = {path: [side.get(path) for side in sides] for path in paths}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def _flat(stored: TrialDetails) -> dict[str, Any]:
    metrics = {name: value for name, value in stored.result.metrics.items() if not is_speed(name)}
    result = {"state": stored.result.state, "metrics": metrics}
    return flatten({**stored.record.trial, "params": stored.record.params, **result})
