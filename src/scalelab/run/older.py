"""Results under older recipes: trials that were asked for in the same words, and whose numbers are
others today.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from scalelab.core.events import FINISHED
from scalelab.plan.plan import Plan
from scalelab.spec.experiment import Trial
from scalelab.store.reader import Reader
from scalelab.store.records import Result, TrialRecord


@dataclass(frozen=True)
class Older:
    """What a store has of a trial under an older recipe, and nothing under today's."""

    digest: str
    """Of the trial as it is planned."""
    older: str
    """Of the trial as it was run."""
    parts: Sequence[str]
    """Spec paths of the parts whose recipe was an older one; empty for the whole trial's."""

    def as_dict(self) -> dict[str, Any]:
        """It for `--json`."""
        return asdict(self)


def older_results(store: Reader, plan: Plan, results: Mapping[str, Result]) -> list[Older]:
    """The planned trials that are missing and that an older recipe has a result of, in the plan's
    order. `results` is what the store knows of the plan.
    """
    candidates = [
        Older(planned.digest, digest, parts)
        for planned in plan.trials
        if results[planned.digest].as_planned == "missing"
        for digest, parts in planned.trial.older_digests().items()
    ]
    known = store.results([candidate.older for candidate in candidates])
    # One for each trial: later ones are of newer recipes.
    found = {
        candidate.digest: candidate
        for candidate in candidates
        if known[candidate.older].as_planned in FINISHED
    }
    return list(found.values())


def older_note(found: Sequence[Older]) -> str:
    """The line on such trials; empty where there are none."""
    if not found:
        return ""
    named = in_words(list(dict.fromkeys(part for one in found for part in one.parts)))
    were, they = ("was", "it runs") if len(found) == 1 else ("were", "they run")
    return (
        f"note: {len(found):,} of the trials {were} run under an older recipe of {named}: the"
        f" results stay in the store, and {they} again"
    )


def older_parts(record: TrialRecord) -> list[str]:
    """Spec paths of the parts of a stored trial that have another recipe today; none of an imported
    trial, which has no recipe.
    """
    if record.origin != "run":
        return []
    try:
        trial = Trial.model_validate(record.trial)
    except ValidationError:  # It can be shown, whatever has become of its fields.
        return []
    return trial.older_digests().get(record.digest, [])


def in_words(parts: Sequence[str]) -> str:
    """`optim.schedule` and `task`, in quotes."""
    return " and ".join(f"`{part}`" if part else "the whole trial" for part in parts)
