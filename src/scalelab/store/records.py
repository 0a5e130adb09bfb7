"""What goes into a store and comes out of it. Plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scalelab.core.events import Outcome, State, is_pruned

Curve = Sequence[tuple[int, float]]
"""(step, value) of a metric, ascending."""
Origin = Literal["run", "imported"]
AttemptState = Outcome | Literal["running", "interrupted", "lost"]
"""`interrupted`: its driver gave it back; `lost`: its driver vanished, and another attempt
followed.
"""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the plan knows it.

    A length of 0 (steps, tokens, exposures, flops) is one that nobody knows.
    """

    digest: str
    """sha256 of the identity, in hex."""
    identity: dict[str, Any]
    """What the digest covers."""
    trial: dict[str, Any]
    """The resolved trial, every field written down."""
    axes: dict[str, Any]
    """Spec path -> value, as the experiment's axes set it."""
    replicate: int
    seed: int
    params: dict[str, int]
    """Number of parameters by convention."""
    steps: int
    tokens: int
    exposures: float
    flops: int
    """Training FLOPs; kept with 16 digits, as a float."""
    origin: Origin = "run"
    extra: dict[str, Any] = field(default_factory=dict)
    """Facts that came with an imported trial and have no place of their own."""


@dataclass(frozen=True)
class Result:
    """Where a trial stands.

    `seconds` is the wall time of the attempts that lead to it, as far as they are known.
    """

    state: State
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    step: int | None = None

    @property
    def as_planned(self) -> State:
        """The state for whoever wants the trial's result: one that a search ended early is
        `queued`, as it goes on from its checkpoint.
        """
        return "queued" if is_pruned(self.state, self.metrics) else self.state


@dataclass(frozen=True)
class Attempt:
    """One execution of a trial. Times are seconds since the epoch."""

    key: str
    """Names the attempt in every store that it is merged into."""
    owner: str
    state: AttemptState
    started: float
    ended: float | None
    resumed: int
    step: int | None
    seconds: float | None
    numerics: dict[str, Any]
    environment: dict[str, Any]
    error: str


@dataclass(frozen=True)
class StoredTrial:
    """A trial and what became of it: what a search learns from, and what figures and tables show.

    The record's axes are those of the experiment through which it was read.
    """

    record: TrialRecord
    result: Result
    curve: Curve = field(default=(), kw_only=True)
    """Of the metric that was asked for; else empty."""

    @property
    def digest(self) -> str:
        """The digest of the trial's identity."""
        return self.record.digest

    @property
    def state(self) -> State:
        """Where the trial stands."""
        return self.result.state

    @property
    def metrics(self) -> dict[str, float]:
        """Its last metrics."""
        return self.result.metrics


@dataclass(frozen=True)
class TrialDetails(StoredTrial):
    """Everything that a store knows of a trial, its curves left out.

    The record's axes, and the spec, are those of its first experiment.
    """

    experiments: list[str]
    attempts: list[Attempt]
    artifacts: dict[str, str]
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredExperiment:
    """An experiment with the number of its trials in each state."""

    name: str
    spec: dict[str, Any]
    created: float
    states: dict[State, int]
