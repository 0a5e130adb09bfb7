"""Examine a spec's trials: do they compile in one graph, and do their activations move alike at
every width?
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalelab.core.canon import SHORT
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.spec.execution import Execution
from scalelab.tasks import describe

if TYPE_CHECKING:
    from scalelab.train.coordinates import Coordinate
    from scalelab.train.tracing import Fault


@dataclass(frozen=True)
class Traced:
    """What came of tracing one trial, for all trials that trace alike."""

    planned: PlannedTrial
    trials: int
    """How many trials of the plan have this model and these shapes."""
    faults: "list[Fault]"

    @property
    def name(self) -> str:
        """The short digest, and the arm where there is one."""
        return " ".join(
            [
                self.planned.digest[:SHORT],
                *([str(self.planned.axes["arm"])] if "arm" in self.planned.axes else []),
            ]
        )

    @property
    def phases(self) -> list[str]:
        """What was traced: a model that sees both sides does not decode."""
        decodes = self.planned.trial.model.is_autoregressive
        return ["train", "eval", *(["decode"] if decodes else [])]

    def as_dict(self) -> dict[str, Any]:
        """One row of `--json`."""
        row = {
            "digest": self.planned.digest,
            "axes": dict(self.planned.axes),
            "trials": self.trials,
        }
        return row | {"faults": [fault.as_dict() for fault in self.faults]}


def trace(plan: Plan) -> Iterator[Traced]:
    """The faults of each distinct model and shape, as they are found.

    Takes some seconds for each.
    """
    from scalelab.train.tracing import examine

    execution, alike = plan.experiment.execution, dict[str, list[PlannedTrial]]()
    for planned in plan.trials:
        alike.setdefault(_traces_as(planned, execution), []).append(planned)
    for group in alike.values():
        yield Traced(group[0], len(group), examine(group[0].trial, execution))


def coordinates(plan: Plan) -> "list[Coordinate]":
    """The coordinate check of the plan's first trial."""
    from scalelab.train.coordinates import coordinate_check

    return coordinate_check(plan.trials[0].trial, data=plan.experiment.execution.data)


def _traces_as(planned: PlannedTrial, execution: Execution) -> str:
    """Equal for trials whose compiled code is the same: seeds, budgets and learning rates do not
    enter it.
    """
    from scalelab.train.tracing import small

    trial = small(planned.trial, execution)
    shape = describe(trial.task, execution.data)
    task = trial.task.model_dump(include={"kind", "objective", "documents"})
    return repr(
        (
            trial.model,
            task,
            shape.vocab,
            shape.context,
            shape.targets,
            trial.precision,
            trial.batch,
            trial.optim.z_loss > 0,
        )
    )
