"""`status`, `ls`, `show`, `compare`: what the store knows."""

from typing import TYPE_CHECKING, Any

from scalelab.cli.options import (
    DEFAULT_STORE,
    DigestArgument,
    ExperimentOption,
    FilterOption,
    JsonOption,
    StoreOption,
    print_json,
    print_table,
)
from scalelab.core.canon import SHORT
from scalelab.core.events import SPEED, State
from scalelab.core.units import format_count, format_seconds

if TYPE_CHECKING:
    from scalelab.store import Result, StoredTrial, TrialRecord


def status(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show the experiments of the store and how far they are."""
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        experiments = opened.experiments()
    if as_json:
        print_json(
            {"experiments": [{"name": found.name, "states": found.states, "trials": sum(found.states.values())} for found in experiments]}
        )
        return
    states: list[State] = sorted({state for found in experiments for state in found.states})
    print_table(
        ["experiment", "trials", *states],
        [[found.name, str(sum(found.states.values())), *(str(found.states.get(state, "-")) for state in states)] for found in experiments],
    )


def ls(
    experiment: ExperimentOption = None, filter_: FilterOption = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """List trials with their state, axes, size and recall."""
    from scalelab.core.filter import compile_filter
    from scalelab.store import open_store

    wanted = compile_filter(filter_) if filter_ else lambda row: True
    with open_store(store, mode="read") as opened:
        names = experiment or [found.name for found in opened.experiments()]
        rows = [trial_json(name, record, result) for name in names for record, _, result in opened.members(name)]
        rows = [row for row in rows if wanted(_filter_row(row))]
    if as_json:
        print_json({"trials": [{key: value for key, value in row.items() if key != "trial"} for row in rows]})
        return
    axes = list(dict.fromkeys(path for row in rows for path in row["axes"]))
    print_table(
        ["digest", "state", "experiment", *axes, "seed", "params", "recall", "time"],
        [
            [
                row["digest"][:SHORT],
                row["state"],
                row["experiment"],
                *(str(row["axes"].get(path, "-")) for path in axes),
                str(row["seed"]),
                f"{row['params'].get('total', 0):,}",
                _number(row["metrics"].get("recall")),
                format_seconds(row["seconds"]) if row["seconds"] else "-",
            ]
            for row in rows
        ],
    )


def show(digest: DigestArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show one trial: its spec, its metrics, its attempts and where they ran."""
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        found = opened.trial(opened.find(digest))
    if as_json:
        print_json({"trials": [_full(found)]})
        return
    import yaml

    record, result = found.record, found.result
    print(f"trial {record.digest}\n{result.state}, in {', '.join(found.experiments) or 'no experiment'}\n")
    print(yaml.safe_dump(record.trial, sort_keys=False))
    print_table(["params", "count"], [[name, f"{count:,}"] for name, count in record.params.items()])
    lengths = [f"{record.steps:,} steps", f"{format_count(record.tokens)} tokens", f"{record.exposures:g} exposures"]
    print(f"\n{', '.join(lengths)}, {format_count(record.flops)} FLOPs\n")
    print_table(["metric", "value"], [[name, _number(value)] for name, value in sorted(result.metrics.items())])
    for attempt in found.attempts:
        commit = str(attempt.environment.get("commit"))[:SHORT] + (" with changes" if attempt.environment.get("dirty") else "")
        numerics = ", ".join(f"{name} {value}" for name, value in attempt.numerics.items())
        print(
            f"\nattempt {attempt.key[:SHORT]}: {attempt.state} after {format_seconds(attempt.seconds or 0)}, commit {commit}\n  {numerics}"
        )
        if attempt.error:
            print(f"  {attempt.error}")
    for name, place in found.artifacts.items():
        print(f"\n{name}: {place}")


def compare(first: DigestArgument, second: DigestArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show in what two trials differ: fields, sizes and metrics."""
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        pair = [opened.trial(opened.find(digest)) for digest in (first, second)]
    sides = [_flat(trial) for trial in pair]
    different = [path for path in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(path) != sides[1].get(path)]
    if as_json:
        print_json(
            {"trials": [_full(trial) for trial in pair], "different": {path: [side.get(path) for side in sides] for path in different}}
        )
        return
    rows = [[path, *(_number(side.get(path)) for side in sides)] for path in different]
    print_table(["field", *(trial.record.digest[:SHORT] for trial in pair)], rows or [["(no field differs)", "", ""]])


def trial_json(experiment: str, record: "TrialRecord", result: "Result") -> dict[str, Any]:
    """A stored trial in the form of every `--json` answer, with the resolved trial for filters."""
    return {
        "digest": record.digest,
        "state": result.state,
        "experiment": experiment,
        "axes": record.axes,
        "replicate": record.replicate,
        "seed": record.seed,
        "params": record.params,
        "steps": record.steps,
        "tokens": record.tokens,
        "exposures": record.exposures,
        "flops": record.flops,
        "seconds": result.seconds,
        "metrics": result.metrics,
        "origin": record.origin,
        "trial": record.trial,
    }


def _full(found: "StoredTrial") -> dict[str, Any]:
    record = found.record
    return {
        **trial_json(", ".join(found.experiments), record, found.result),
        "experiments": found.experiments,
        "artifacts": found.artifacts,
        "extra": record.extra,
        "attempts": [{name: getattr(attempt, name) for name in type(attempt).__dataclass_fields__} for attempt in found.attempts],
    }


def _flat(found: "StoredTrial") -> dict[str, Any]:
    from scalelab.plan.diff import flatten

    metrics = {name: value for name, value in found.result.metrics.items() if name not in SPEED}
    result = {"state": found.result.state, "metrics": metrics}
    return flatten({**found.record.trial, "params": found.record.params, **result})


def _filter_row(row: dict[str, Any]) -> dict[str, Any]:
    from scalelab.plan.diff import flatten

    known = {key: value for key, value in row.items() if key not in ("axes", "trial")}
    return {"metrics.recall": None, **flatten(row["trial"]), **row["axes"], **flatten(known)}


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
