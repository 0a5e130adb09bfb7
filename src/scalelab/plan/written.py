"""A stored trial's budget as its experiment wrote it: the trial itself keeps what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from scalelab.plan.diff import flatten
from scalelab.spec.axes import AxisError, laid
from scalelab.spec.budget import Budget


@dataclass(frozen=True)
class Written:
    """What a spec says of a trial's length and size."""

    budget: Budget
    solved: tuple[str, ...]
    """Paths of the sizes that say `solve`."""


def written(spec: Mapping[str, Any], axes: Mapping[str, Any]) -> Written | None:
    """The budget in the spec of an experiment, or of a space, at a trial's axes; None where the
    spec has none, as of a table, or none that this version reads.
    """
    base, arms = spec.get("base", spec), spec.get("arms", {})
    arm = arms.get(axes.get("arm"), {}) if isinstance(arms, Mapping) else None
    if not isinstance(base, Mapping) or not isinstance(arm, Mapping):
        return None
    point = {**arm, **axes}
    try:
        data = laid(
            {part: base.get(part, {}) for part in ("budget", "model")},
            {
                path: value
                for path, value in point.items()
                if path.partition(".")[0] in ("budget", "model")
            },
        )
        budget = Budget.model_validate(data["budget"])
    except (AxisError, ValidationError):
        return None
    model = flatten({"model": data["model"]})
    return Written(budget, tuple(path for path, size in model.items() if size == "solve"))
