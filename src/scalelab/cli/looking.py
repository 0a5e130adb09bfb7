"""`status`, `ls`, `compare`: what the store knows."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from scalelab.cli.options import (
    DEFAULT_STORE,
    DigestArgument,
    ExperimentOption,
    FilterOption,
    JsonOption,
    StoreOption,
    number,
    print_json,
    print_table,
)
from scalelab.cli.showing import full_json, trial_json
from scalelab.core.canon import SHORT
from scalelab.core.events import State
from scalelab.core.metrics import (
    column_of,
    is_detail,
    is_lower_better,
    is_speed,
    metric_of,
    stem_of,
)
from scalelab.core.units import brief, format_seconds

if TYPE_CHECKING:
    from scalelab.store import StoredTrial


def status(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show the experiments of the store and how far they are."""
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        experiments = opened.experiments()
    if as_json:
        print_json(
            {
                "experiments": [
                    {
                        "name": found.name,
                        "states": found.states,
                        "trials": sum(found.states.values()),
                    }
                    for found in experiments
                ]
            }
        )
        return
    states: list[State] = sorted({state for found in experiments for state in found.states})
    print_table(
        ["experiment", "trials", *states],
        [
            [
                found.name,
                str(sum(found.states.values())),
                *(str(found.states.get(state, "-")) for state in states),
            ]
            for found in experiments
        ],
    )


def ls(
    experiment: ExperimentOption = None,
    filter_: FilterOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List trials with their state, axes, size and main metrics."""
    from scalelab.core.filter import compile_filter
    from scalelab.spec.reported import MAIN
    from scalelab.store import open_store

    wanted = compile_filter(filter_) if filter_ else None
    with open_store(store, mode="read") as opened:
        names = experiment or [found.name for found in opened.experiments()]
        rows = [
            trial_json(name, record, result)
            for name in names
            for record, _, result in opened.members(name)
        ]
    if wanted is not None:
        columns = [_columns(row) for row in rows]
        absent = dict.fromkeys(name for row in columns for name in row)
        rows = [row for row, known in zip(rows, columns, strict=True) if wanted(absent | known)]
    if as_json:
        print_json(
            {
                "trials": [
                    {key: value for key, value in row.items() if key != "trial"} for row in rows
                ]
            }
        )
        return
    axes = list(dict.fromkeys(path for row in rows for path in row["axes"]))
    measured = {name for row in rows for name in row["metrics"]}
    active = (
        ["active"]
        if any(
            row["params"].get("active", total) != total
            for row in rows
            for total in [row["params"].get("total")]
        )
        else []
    )
    shown = [name for name in sorted(("loss", *MAIN), key=is_lower_better) if name in measured]
    print_table(
        ["digest", "state", "experiment", *axes, "seed", "params", *active, *shown, "time"],
        [
            [
                row["digest"][:SHORT],
                row["state"],
                row["experiment"],
                *(brief(row["axes"].get(path, "-")) for path in axes),
                str(row["seed"]),
                *(_count(row["params"].get(name)) for name in ("total", *active)),
                *(number(row["metrics"].get(name)) for name in shown),
                format_seconds(row["seconds"]) if row["seconds"] else "-",
            ]
            for row in rows
        ],
    )


def compare(
    first: DigestArgument,
    second: DigestArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show in what two trials differ: fields, sizes and metrics."""
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        pair = [opened.trial(opened.find(digest)) for digest in (first, second)]
    sides = [_flat(trial) for trial in pair]
    different = [
        path
        for path in dict.fromkeys([*sides[0], *sides[1]])
        if sides[0].get(path) != sides[1].get(path)
    ]
    if as_json:
        print_json(
            {
                "trials": [full_json(trial) for trial in pair],
                "different": {path: [side.get(path) for side in sides] for path in different},
            }
        )
        return
    told = [path for path in different if not is_detail(metric_of(path))]
    rows = [[path, *(number(side.get(path)) for side in sides)] for path in told]
    counts = Counter(stem_of(metric_of(path)) for path in different if path not in told)
    rows += [
        [f"{column_of(stem)}_*", f"{count} differ", "--json has them"]
        for stem, count in counts.items()
    ]
    print_table(
        ["field", *(trial.record.digest[:SHORT] for trial in pair)],
        rows or [["(no field differs)", "", ""]],
    )


def _flat(found: "StoredTrial") -> dict[str, Any]:
    from scalelab.plan.diff import flatten

    metrics = {name: value for name, value in found.result.metrics.items() if not is_speed(name)}
    result = {"state": found.result.state, "metrics": metrics}
    return flatten({**found.record.trial, "params": found.record.params, **result})


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """What a filter may ask about a trial, by column."""
    from scalelab.plan.diff import flatten

    known = {key: value for key, value in row.items() if key not in ("axes", "trial")}
    return {"metrics.recall": None, **flatten(row["trial"]), **row["axes"], **flatten(known)}
