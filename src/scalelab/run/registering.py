"""Planned trials as the store keeps them."""

from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.store.records import TrialRecord
from scalelab.store.store import Store


def register(plan: Plan, store: Store) -> None:
    """Write the plan down."""
    store.register(
        plan.experiment.name,
        plan.experiment.model_dump(mode="json"),
        [record(planned) for planned in plan.trials],
        plan.document.path,
    )


def record(planned: PlannedTrial) -> TrialRecord:
    """A planned trial as the store keeps it."""
    return TrialRecord(
        digest=planned.digest,
        identity=planned.trial.identity(),
        trial=planned.trial.model_dump(mode="json"),
        axes=planned.axes,
        replicate=planned.replicate,
        seed=planned.trial.seed,
        params=planned.params.as_dict(),
        steps=planned.steps,
        tokens=planned.tokens,
        exposures=planned.exposures,
        flops=planned.flops,
    )
