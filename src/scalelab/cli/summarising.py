"""A large plan by its axes: for each value its trials, their states, sizes and costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scalelab.cli.options import print_table
from scalelab.core.canon import canonical_json
from scalelab.core.events import State
from scalelab.core.units import brief, format_count, format_seconds

if TYPE_CHECKING:
    from scalelab.plan.cost import Clock
    from scalelab.plan.plan import PlannedTrial

VALUES = 20
"""Values of an axis that are told apart."""

WIDEST = 24
"""Letters of a value: a line fits into 80."""


def show_summary(
    trials: "Sequence[PlannedTrial]", states: Mapping[str, State], clock: "Clock"
) -> None:
    """A line for each value of each axis that has several, under the axis."""
    known = sorted({states[planned.digest] for planned in trials})
    columns = ["axis", "trials", *known, "params", "FLOPs", "time"]
    rows: list[list[str]] = []
    for path in dict.fromkeys(path for planned in trials for path in planned.axes):
        parts = _by_value(trials, path)
        if parts:
            rows.append([path, *[""] * (len(columns) - 1)])
        for value, part in parts:
            found = [states[planned.digest] for planned in part]
            sizes = [planned.params.total for planned in part]
            rows.append(
                [
                    f"  {value}",
                    f"{len(part):,}",
                    *(f"{found.count(state):,}" for state in known),
                    between(min(sizes), max(sizes)),
                    *cost(part, clock),
                ]
            )
    print_table(columns, rows)


def _by_value(
    trials: "Sequence[PlannedTrial]", path: str
) -> "list[tuple[str, Sequence[PlannedTrial]]]":
    """The values of an axis, each with its trials; none of an axis with one value, and one line of
    very many.
    """
    parts: dict[str, list[PlannedTrial]] = {}
    for planned in trials:
        parts.setdefault(canonical_json(planned.axes.get(path)), []).append(planned)
    values = _labels([part[0].axes.get(path, "-") for part in parts.values()])
    if len(values) == 1:
        return []
    if len(values) > VALUES:
        return [(f"{len(values):,} from {values[0]} to {values[-1]}", trials)]
    return list(zip(values, parts.values(), strict=True))


def _labels(values: Sequence[Any]) -> list[str]:
    """The values in few letters: of parts of a spec what differs between them; in more letters
    where they would look the same.
    """
    differing = _differing(values)
    whole = [brief(value) or "-" for value in differing]
    short = [text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..." for text in whole]
    exact = [canonical_json(value) for value in differing]
    return next((one for one in (short, whole) if len(set(one)) == len(one)), exact)


def _differing(values: Sequence[Any]) -> Sequence[Any]:
    """Of mappings the entries that not all of them share."""
    from scalelab.plan.diff import flatten

    if len(values) < 2 or not all(isinstance(value, Mapping) for value in values):
        return values
    flat = [flatten(value) for value in values]
    shared = set.intersection(*({(key, canonical_json(one[key])) for key in one} for one in flat))
    return [
        {key: part for key, part in one.items() if (key, canonical_json(part)) not in shared}
        for one in flat
    ]


def cost(trials: "Sequence[PlannedTrial]", clock: "Clock") -> tuple[str, str]:
    """FLOPs and predicted time of trials together."""
    least, most = (
        sum(planned.flops_least for planned in trials),
        sum(planned.flops for planned in trials),
    )
    return between(least, most), format_seconds(sum(map(clock.seconds, trials)))


def between(least: float, most: float) -> str:
    """One number, or two where they differ."""
    low, high = format_count(least), format_count(most)
    return high if low == high else f"{low} to {high}"
