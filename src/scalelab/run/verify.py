"""Run a stored trial again under the numerics of the attempt that finished it, and compare the
bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED, Event, Measured, is_pruned, is_same
from scalelab.core.metrics import is_speed
from scalelab.run.older import in_words, older_parts
from scalelab.run.pretrained import laid_out
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.store.records import Attempt, TrialDetails

Curve = Mapping[tuple[int, str], float]
"""(step, metric) -> value."""

EXECUTION = ("device", "threads", "compile", "recompute", "micro_batch")
"""Numerics that an execution can choose; the rest (versions, hardware) must be as they were."""


@dataclass(frozen=True)
class Verdict:
    """What came of a second run."""

    digest: str
    equal: bool
    compared: int
    """How many values were compared, the digest of the weights among them."""
    first: str = ""
    """The first difference, in words."""
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Numerics that are not what they were, in any of the attempts that led to the result: then
    equal bits are not promised.
    """

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        short = self.digest[:SHORT]
        moved = ", ".join(
            f"{name} was {was}, is {now}" for name, (was, now) in self.changed.items()
        )
        if self.equal:
            return f"{short}: all {self.compared} values and the weights are equal, bit for bit" + (
                f", though {moved}" if moved else ""
            )
        excuse = f"; equal bits are promised only for equal numerics, and {moved}" if moved else ""
        return f"{short}: the runs differ: {self.first}{excuse}"

    def as_dict(self) -> dict[str, Any]:
        """The verdict for `--json`."""
        return {
            "digest": self.digest,
            "equal": self.equal,
            "compared": self.compared,
            "first": self.first,
            "changed": self.changed,
        }


def verify(
    stored: TrialDetails, kept: Curve, data: str, layers_sha256: str | None = None
) -> Verdict:
    """Train a stored trial again in this process; `kept` is its stored curve, `data` where prepared
    corpora lie, `layers_sha256` that of the file whose layers it takes, where it is known.

    Raises UserError for a trial that its search ended early, and for one of an older recipe.
    """
    if is_pruned(stored.result.state, stored.result.metrics):
        what = (
            f"trial {stored.record.digest[:SHORT]} was ended early by its search, and has no result"
            " to verify"
        )
        raise UserError(
            what, cure="run a spec of it to its end first, or name another trial of `scalelab ls`"
        )
    trial = Trial.model_validate(stored.record.trial)
    if parts := older_parts(stored.record):
        raise UserError(
            f"trial {stored.record.digest[:SHORT]} was run under an older recipe of"
            f" {in_words(parts)}, and its numbers are others today",
            cure=f"run its experiment again, and verify {trial.digest()[:SHORT]}",
        )
    from scalelab.train import train
    from scalelab.train.numerics import numerics, pick_device

    chain = leading_to_result(stored.attempts)
    before = chain[-1].numerics
    execution = Execution.model_validate(
        {name: before[name] for name in EXECUTION if name in before}
    ).model_copy(update={"data": data})
    now = numerics(execution, pick_device(execution))
    changed = {
        name: (value, now.get(name))
        for one in chain
        for name, value in one.numerics.items()
        if now.get(name) != value
    }
    events: list[Event] = []
    with laid_out(stored) as folder:
        ended = train(
            trial, execution, folder=folder, layers_sha256=layers_sha256, emit=events.append
        )
    again = {
        (event.step, name): value
        for event in events
        if isinstance(event, Measured)
        for name, value in event.values.items()
    }
    again |= {(ended.step, name): value for name, value in ended.values.items()}
    # A metric that the trial lacks at a step where it has others is one that was not measured yet
    # when it ran: nowhere, or only at the end.
    steps, known = {step for step, _ in kept}, {name for _, name in kept}
    added = {(step, name) for step, name in again if step not in steps and name in known}
    compared = sorted(key for key in kept.keys() | added if not is_speed(key[1]))
    first = next(
        (
            _difference(key, kept, again)
            for key in compared
            if not is_same(kept.get(key), again.get(key))
        ),
        "",
    )
    weights = stored.artifacts.get("weights_sha256")
    if not first and weights is not None and weights != ended.artifacts["weights_sha256"]:
        first = "the weights at the end"
    return Verdict(stored.record.digest, not first, len(compared), first, changed)


def leading_to_result(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempt that finished the trial, and before it those that it went on from, the first one
    first.

    What came after it (interrupted, lost) changed nothing.
    """
    last = max(index for index, one in enumerate(attempts) if one.state in FINISHED)
    chain = [attempts[last]]
    for one in reversed(attempts[:last]):
        if (
            one.resumed < chain[0].resumed
        ):  # it came further than where it began, and its checkpoint was gone on from
            chain.insert(0, one)
    return chain


def _difference(key: tuple[int, str], kept: Curve, again: Curve) -> str:
    return f"{key[1]} at step {key[0]} was {kept.get(key)}, is {again.get(key)}"
