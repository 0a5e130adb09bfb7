"""The plan as a difference against what a store knows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED, State
from scalelab.core.filter import compile_filter
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.search import Searcher

if TYPE_CHECKING:
    from scalelab.store.records import Result


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


def choose(plan: Plan, condition: str | None) -> Plan:
    """The plan with only the trials that meet a condition (see `core.filter`); all of them without
    one.

    Raises UserError if none does.
    """
    if not condition:
        return plan
    is_chosen = compile_filter(condition)
    chosen = [planned for planned in plan.trials if is_chosen(row(planned))]
    if not chosen:
        raise UserError(
            f"`{condition}` matches none of the {len(plan.trials):,} trials of"
            f" {plan.experiment.name}",
            cure="see `scalelab plan` for them",
            where="--only",
        )
    return replace(plan, trials=chosen)


def tally(plan: Plan, states: Mapping[str, State]) -> dict[str, int]:
    """How many trials of the plan stand in which state."""
    return dict(Counter(states[planned.digest] for planned in plan.trials))


def resumed_search(
    plan: Plan, results: "Mapping[str, Result]", *, retry_failed: bool = False
) -> Searcher:
    """The plan's search, told the results that a store has of its trials.

    A trial that another search ended early has no result for a plan.
    """
    search = plan.experiment.search.start(plan.trials)
    ended = FINISHED if retry_failed else FINISHED | {"failed"}
    for planned in plan.trials:
        result = results[planned.digest]
        if result.as_planned in ended:
            search.tell(planned.digest, result.state, result.metrics)
    return search
