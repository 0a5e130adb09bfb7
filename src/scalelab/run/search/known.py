"""What a guided search knows of trials: of those that it asked for, and of those that a store had
before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scalelab.core.events import State
from scalelab.plan.plan import PlannedTrial
from scalelab.spec.load import Document
from scalelab.spec.objectives import PLAN_FACTS
from scalelab.spec.space import Space
from scalelab.store import tried
from scalelab.store.reader import Reader

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Known:
    """A trial that a store knows."""

    digest: str
    trial: Mapping[str, Any]
    """The resolved trial, every field written down."""
    state: State
    metrics: Mapping[str, float]
    """Its last metrics."""
    curve: Sequence[tuple[int, float]] = ()
    """(step, value) of the objective, where there is one: what a pruner compares. Ascending."""
    axes: Mapping[str, Any] | None = None
    """Searched path -> value, where the search asked for the trial itself: it then counts for the
    budget, in the order of asking.
    """


@dataclass
class Asked:
    """A trial of the search, and what became of it."""

    planned: PlannedTrial
    trial: "optuna.Trial"
    own: bool
    """Whether the search asked for it; others were known from elsewhere."""
    state: State | None = None
    """None while it is on its way."""
    seen: set[int] = field(default_factory=set)
    """Steps that the pruner has heard of."""
    is_enough: bool = False
    """Whether the pruner has given it up."""


def known_trials(
    store: Reader,
    space: Space,
    document: Document,
    *,
    warm: bool = True,
    retry_failed: bool = False,
) -> list[Known]:
    """The trials of the space's experiment in the order of asking, and with `warm` every other
    result that could fit the space.
    """
    objectives = list(space.objectives)
    metric = objectives[0] if len(objectives) == 1 and objectives[0] not in PLAN_FACTS else None
    own = [
        Known(
            member.record.digest,
            member.record.trial,
            "queued" if retry_failed and member.result.state == "failed" else member.result.state,
            member.result.metrics,
            member.curve,
            member.record.axes,
        )
        for member in tried.members(store, space.name, metric)
    ]
    if not warm:
        return own
    others = tried.others(store, space.name, _kinds(space, document.data["base"]))
    return own + [Known(other.digest, other.trial, other.state, other.metrics) for other in others]


def _kinds(space: Space, base: Mapping[str, Any]) -> dict[str, list[str]]:
    """The kinds of task and model that the base has, where they are not searched."""
    found: dict[str, list[str]] = {}
    for part in ("task", "model"):
        kind = base.get(part, {}).get("kind")
        if kind is not None and part not in space.search and f"{part}.kind" not in space.search:
            found[f"{part}.kind"] = [kind]
    return found


def value_of(objective: str, planned: PlannedTrial, metrics: Mapping[str, float]) -> float | None:
    """An objective of a trial that has ended: what was measured, else what the plan knows; None
    where nobody does.
    """
    if objective in metrics:
        return metrics[objective]
    if objective.startswith("params."):
        return planned.params.as_dict().get(objective.removeprefix("params."))
    facts = {
        "flops": planned.flops,
        "flops_per_token": planned.flops / (3 * planned.tokens),
    }  # a third of training is the forward pass
    return facts.get(objective)


def is_alike(trial: Mapping[str, Any], probe: Mapping[str, Any], space: Space) -> bool:
    """Whether a resolved trial could be one of the space, as far as a glance tells: it has what
    every trial of it has (see `probe`).
    """
    parts = ("task", "optim", "batch", "precision", "evaluation", "seed")
    searched = {path.partition(".")[0] for path in space.search}
    return all(trial.get(part) == probe[part] for part in parts if part not in searched)
