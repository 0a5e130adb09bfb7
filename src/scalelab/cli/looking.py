"""`status`, `ls`, `compare`: what the store knows."""

from collections import Counter

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
from scalelab.core.canon import SHORT
from scalelab.core.events import State
from scalelab.core.metrics import column_of, is_detail, is_lower_better, metric_of, stem_of
from scalelab.core.units import brief, format_seconds


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
    from scalelab.spec.reported import MAIN
    from scalelab.store import open_store
    from scalelab.store.listing import list_trials

    with open_store(store, mode="read") as opened:
        rows = list_trials(opened, experiment, filter_ or None)
    if as_json:
        print_json({"trials": rows})
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
    usual = sorted(("loss", *MAIN), key=is_lower_better)
    shown = [name for name in usual if name in measured]
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
    from scalelab.run.details import details, differences
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        pair = [opened.trial(opened.find(digest)) for digest in (first, second)]
    different = differences(*pair)
    if as_json:
        print_json({"trials": [details(trial) for trial in pair], "different": different})
        return
    told = [path for path in different if not is_detail(metric_of(path))]
    rows = [[path, *map(number, different[path])] for path in told]
    counts = Counter(stem_of(metric_of(path)) for path in different if path not in told)
    rows += [
        [f"{column_of(stem)}_*", f"{count} differ", "--json has them"]
        for stem, count in counts.items()
    ]
    print_table(
        ["field", *(trial.record.digest[:SHORT] for trial in pair)],
        rows or [["(no field differs)", "", ""]],
    )


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
