"""The plan as a difference against what a store knows."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scalelab.core.events import State
from scalelab.plan.plan import Plan, PlannedTrial


def row(planned: PlannedTrial) -> dict[str, Any]:
    """What a filter sees of a planned trial: every spec path, the axes as written, sizes and
    lengths.
    """
    flat = flatten(planned.trial.model_dump())
    return {
        **flat,
        **planned.axes,
        **{f"params.{name}": value for name, value in planned.params.as_dict().items()},
        "digest": planned.digest,
        "replicate": planned.replicate,
        "tokens": planned.tokens,
        "exposures": planned.exposures,
        "flops": planned.flops,
        "flops_least": planned.flops_least,
    }


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> spec path -> value."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def keep(plan: Plan, predicate: Callable[[Mapping[str, Any]], bool] | None) -> Plan:
    """The plan with only the trials that match."""
    return (
        plan
        if predicate is None
        else replace(plan, trials=[planned for planned in plan.trials if predicate(row(planned))])
    )


def tally(plan: Plan, states: Mapping[str, State]) -> dict[str, int]:
    """How many trials of the plan stand in which state."""
    return dict(Counter(states[planned.digest] for planned in plan.trials))
