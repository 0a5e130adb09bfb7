"""What a trial tells while it runs.

Plain values, so that they cross a process or a network as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["missing", "queued", "running", "done", "stopped", "diverged", "failed"]
Outcome = Literal["done", "stopped", "diverged", "failed"]

FINISHED: frozenset[State] = frozenset({"done", "stopped", "diverged"})
"""States that are results: the trial is not run again, unless its search ended it (`is_pruned`)."""

PRUNED = "pruned"
"""The metric of a trial that its search ended early, and of no other: the step of the evaluation
that decided.
"""


def is_pruned(state: State, metrics: Mapping[str, float]) -> bool:
    """Whether a search ended the trial early.

    That is a result for this search alone: whoever else wants the trial goes on with it.
    """
    return state == "stopped" and PRUNED in metrics


def is_same(first: float | None, second: float | None) -> bool:
    """Whether two values of a metric are equal; a NaN is equal to a NaN."""
    return first == second or (first != first and second != second)


@dataclass(frozen=True)
class Started:
    """An attempt began.

    `numerics` is what can move the last bits; `resumed` the step it goes on from.
    """

    numerics: dict[str, Any]
    resumed: int = 0


@dataclass(frozen=True)
class Measured:
    """Metric values at a step.

    An attempt that goes on tells again what its checkpoint knows of: the last news may have been
    lost.
    """

    step: int
    values: dict[str, float]


Cause = Literal["fault", "death", "memory"]
"""Why an attempt failed: by an exception of its own; its worker died; the memory was too small."""


@dataclass(frozen=True)
class Ended:
    """An attempt ended.

    `values` are the trial's final metrics; `seconds` the attempt's wall time; `cause` is for one
    that failed.
    """

    state: Outcome
    step: int
    seconds: float
    values: dict[str, float] = field(default_factory=dict)
    error: str = ""
    artifacts: dict[str, str] = field(default_factory=dict)
    cause: Cause = "fault"


@dataclass(frozen=True)
class Advanced:
    """How far a trial is between its evaluations; for the display alone, so that it may be lost."""

    step: int
    share: float
    """Of its budget, 0 to 1."""


News = Started | Measured | Ended
"""What is written down of a trial."""


@dataclass(frozen=True)
class Noted:
    """Something that a user should know of a trial, such as a damaged checkpoint. No result."""

    text: str


@dataclass(frozen=True)
class Refused:
    """The place for checkpoints and models can't be written: no trial can go on there, so the run
    stops. The attempt saved nothing.
    """

    place: str
    why: str


@dataclass(frozen=True)
class Damaged:
    """What the trial reads is missing or damaged, as other trials would find too: the run stops.

    The fields are those of `scalelab.core.errors.Unreadable`.
    """

    what: str
    cure: str
    where: str
    home: str


@dataclass(frozen=True)
class Overtaken:
    """Another attempt at the trial has begun, as its driver took this one for dead: nothing more is
    written of this one.
    """


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, at this step."""

    step: int


Event = News | Advanced | Noted | Saved | Refused | Damaged | Overtaken


class Unwritable(Exception):
    """A place for checkpoints and models can't be written: its disk is full, or forbidden."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place, self.why = place, why


class Fenced(Exception):
    """Another attempt at the trial has begun in its folder: this one may not write there."""


class Interrupted(Exception):
    """The run was asked to stop; the trial saved its position and goes on from there next time."""
