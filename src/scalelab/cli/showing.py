"""`show`: one trial, from its spec to its curves."""

from typing import TYPE_CHECKING, Any

from scalelab.cli.options import (
    DEFAULT_STORE,
    DigestArgument,
    JsonOption,
    StoreOption,
    number,
    print_json,
    print_table,
)
from scalelab.core.canon import SHORT
from scalelab.core.locations import DATA, is_embedded
from scalelab.core.metrics import POSITIONS, is_detail, is_speed, stem_of
from scalelab.core.units import format_count, format_seconds, parse_count

if TYPE_CHECKING:
    from scalelab.store import TrialDetails
    from scalelab.store.curves import Curve
    from scalelab.store.records import Attempt

_SHOWN = 12
"""Rows of a curve; `--json` has all."""


def show(
    digest: DigestArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Show one trial: its spec, its metrics, its curves, its attempts and where they ran."""
    from scalelab.run.details import details
    from scalelab.store import open_store
    from scalelab.store.curves import curve

    with open_store(store, mode="read") as opened:
        found = opened.trial(opened.find(digest))
        points = curve(opened, found.record.digest)
    if as_json:
        curves: dict[str, list[list[float]]] = {}
        for (step, name), value in points.items():
            curves.setdefault(name, []).append([step, value])
        print_json({"trials": [{**details(found), "curves": curves}]})
        return
    _print_trial(found)
    _print_curves(points)
    for attempt in found.attempts:
        _print_attempt(attempt)
    for name, place in found.artifacts.items():
        shown = place
        if is_embedded(place):
            kind = place.removeprefix(DATA).partition(",")[0]
            shown = f"{kind} in the store ({len(place):,} characters; --json has it)"
        print(f"\n{name}: {shown}")


def _print_trial(found: "TrialDetails") -> None:
    from scalelab.run.older import in_words, older_parts
    from scalelab.spec.document import dump

    record, result = found.record, found.result
    print(
        f"trial {record.digest}\n{result.state}, in"
        f" {', '.join(found.experiments) or 'no experiment'}"
    )
    if parts := older_parts(record):
        print(f"run under an older recipe of {in_words(parts)}: run again, it is another trial")
    print()
    print(dump(record.trial))
    print_table(
        ["params", "count"], [[name, f"{count:,}"] for name, count in record.params.items()]
    )
    print()
    _print_budget(found)
    print()
    print_table(["metric", "value"], _metric_rows(result.metrics))


def _print_budget(found: "TrialDetails") -> None:
    """The budget as its experiment writes it, where that is known, and what came of it."""
    from scalelab.run.details import budget_of

    budget = budget_of(found)
    lengths, params = budget["resolved"], budget["params"]
    forms = {"tokens": format_count, "exposures": format_count, "flops": "{:.3g}".format}
    known = [
        f"{forms.get(name, '{:,}'.format)(value)} {'FLOPs' if name == 'flops' else name}"
        for name, value in lengths.items()
        if value
    ]
    if budget["written"] is None:
        print(", ".join(known))
        return
    print(f"budget    {_flow(budget['written'])[1:-1]}   (as written in {found.experiments[0]})")
    print(f"resolved  {', '.join(known)}")
    sizes = ", ".join(f"{path} {size}" for path, size in budget["solved"].items())
    if params is not None and params["reached"] is not None:
        off = 100 * (params["reached"] / params["target"] - 1)
        convention = params["convention"].replace("_", "-")
        reached = f"{params['reached']:,} {convention} parameters, {off:+.2g} % off the target"
        print(f"solved    {sizes + ': ' if sizes else ''}{reached}")


def _flow(value: Any) -> str:
    """A part of a spec in a line, numbers short where that loses nothing."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(part)}' for key, part in value.items())}}}"
    short = format_count(value) if isinstance(value, int) else str(value)
    return short if not isinstance(value, int) or parse_count(short) == value else str(value)


def _metric_rows(metrics: dict[str, float]) -> list[list[str]]:
    """A metric a row; those of each layer and each expert by their kind, from the least to the
    greatest.
    """
    kinds: dict[str, list[float]] = {}
    for name, value in sorted(metrics.items()):
        if is_detail(name):
            kinds.setdefault(f"{stem_of(name)}_*", []).append(value)
    plain = [
        [name, number(value)] for name, value in sorted(metrics.items()) if not is_detail(name)
    ]
    told = {
        kind: f"{number(min(values))} to {number(max(values))} ({len(values)}; --json has all)"
        for kind, values in kinds.items()
    }
    return sorted([*plain, *([kind, said] for kind, said in told.items())])


def _print_curves(points: "Curve") -> None:
    """Every metric but speeds, positions and those of single layers and experts; at most a dozen of
    the measured steps.
    """
    steps, known = sorted({step for step, _ in points}), {name for _, name in points} - POSITIONS
    names = sorted(name for name in known if not is_speed(name) and not is_detail(name))
    if not steps:
        return
    every = (len(steps) - 1) / (_SHOWN - 1)
    shown = (
        steps if len(steps) <= _SHOWN else [steps[round(index * every)] for index in range(_SHOWN)]
    )
    print()
    print_table(
        ["step", *names],
        [[f"{step:,}", *(number(points.get((step, name))) for name in names)] for step in shown],
    )
    details = sorted({f"{stem_of(name)}_*" for name in known if is_detail(name)})
    if details:
        print(
            f"without {', '.join(details)}: --json has them, `scalelab report` draws them (fig."
            " 10, 11)"
        )
    if len(shown) < len(steps):
        print(f"{len(shown)} of {len(steps)} measured steps; --json has all of them")


def _print_attempt(attempt: "Attempt") -> None:
    commit = str(attempt.environment.get("commit"))[:SHORT] + (
        " with changes" if attempt.environment.get("dirty") else ""
    )
    numerics = ", ".join(f"{name} {value}" for name, value in attempt.numerics.items())
    print(
        f"\nattempt {attempt.key[:SHORT]}: {attempt.state} after"
        f" {format_seconds(attempt.seconds or 0)}, commit {commit}\n  {numerics}"
    )
    if attempt.error:
        print(f"  {attempt.error}")
