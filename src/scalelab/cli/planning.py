"""`plan`: what a run would do, as a difference against the store."""

import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalelab.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    OnlyOption,
    SetOption,
    SpecArgument,
    StoreOption,
    print_json,
    print_table,
)
from scalelab.cli.summarising import between, cost, show_summary
from scalelab.core.events import State
from scalelab.core.units import brief, format_count, format_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from scalelab.plan.cost import Clock
    from scalelab.plan.plan import Plan, PlannedTrial
    from scalelab.run.older import Older

ROWS = 40
"""Lines of a plan that are shown unasked: about a screen."""


def plan(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    settings: SetOption = None,
    only: OnlyOption = None,
    every_line: Annotated[
        bool, typer.Option("--all", help="Every line of a large plan, behind its summary.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what would run: state, parameters, tokens, FLOPs, predicted time.

    A large plan is summed up by its axes.
    """
    preview(compiled_plan(spec, settings or [], store), only, store, as_json, every_line)


def preview(
    whole: "Plan", only: str | None, store: str, as_json: bool, every_line: bool = False
) -> None:
    """Print a part of a plan against what the store knows; a large one by its axes, and line by
    line only where every line is wanted.
    """
    from scalelab.plan.diff import choose
    from scalelab.run.older import older_note
    from scalelab.run.overview import overview

    known = overview(store, whole, choose(whole, only))
    if as_json:
        print_json(known.as_dict())
        return
    compiled, is_large = known.plan, len(_groups(known.plan)) > ROWS
    if is_large:
        show_summary(compiled.trials, known.states, known.clock)
        print()
    if every_line or not is_large:
        show(compiled, shown_states(known.states, known.older), known.clock)
    else:
        print("`scalelab plan --all` shows every combination of the axes, `--only` some of them")
    if cold := cold_note(compiled.trials):
        print(f"\n{cold}")
    show_total(compiled, known.totals())
    for note in (older_note(known.older), known.leaving.note, known.leaving.question):
        if note:
            print(note)


def compiled_plan(spec: "Path", settings: list[str], store: str = DEFAULT_STORE) -> "Plan":
    """The plan of a spec file with its settings.

    Trials whose layers are taken are looked up in the store. The embedded corpus is prepared where
    it is needed; raises NotPrepared for any other one that is not there.
    """
    from scalelab.cli.preparing import prepare_shown
    from scalelab.data.spec import TALES
    from scalelab.data.text.manifest import NotPrepared
    from scalelab.run.pretrained import plan_spec

    try:
        return plan_spec(spec, settings, store)
    except NotPrepared as missing:
        if missing.task.corpus.source != TALES:
            raise
        prepare_shown(missing.task.corpus, missing.task.tokens, missing.folder, sys.stderr)
        return compiled_plan(spec, settings, store)


def shown_states(states: Mapping[str, State], older: "Sequence[Older]") -> dict[str, str]:
    """The states in words: a missing trial that an older recipe has a result of says so."""
    return {**states, **{one.digest: f"{states[one.digest]} (older recipe)" for one in older}}


def show(compiled: "Plan", states: Mapping[str, str], clock: "Clock") -> None:
    """A line for each combination of the axes, its replicates together."""
    axes = list(dict.fromkeys(path for planned in compiled.trials for path in planned.axes))
    solved = list(dict.fromkeys(path for planned in compiled.trials for path in planned.solved))
    active = (
        ["active"]
        if any(planned.params.active != planned.params.total for planned in compiled.trials)
        else []
    )
    columns = [
        "digest",
        "state",
        *axes,
        *solved,
        "replicates",
        "params",
        *active,
        "tokens",
        "FLOPs",
        "time",
    ]
    rows = [_line(group, axes, solved, bool(active), states, clock) for group in _groups(compiled)]
    print_table(columns, rows)


def _groups(compiled: "Plan") -> "list[list[PlannedTrial]]":
    """The trials by their combination of the axes."""
    return [list(group) for _, group in groupby(compiled.trials, key=lambda planned: planned.axes)]


def cold_note(trials: "Sequence[PlannedTrial]", which: str = "the trials") -> str:
    """The sentence on those of the trials that end within their warm-up; empty where none does."""
    cold = sum(planned.ends_in_warmup for planned in trials)
    what = (
        f"note: {cold:,} of {which} end within their warm-up and never reach the learning rate; see"
        " `optim.schedule.warmup`"
    )
    return what if cold else ""


def show_total(compiled: "Plan", total: dict[str, Any]) -> None:
    """The totals in words."""
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(total["states"].items()))
    print(f"\n{len(compiled.trials):,} trials of {compiled.experiment.name}: {counts or 'none'}")
    if "cells" in total:
        print(f"{total['cells']['answered']:,} of {total['cells']['total']:,} cells answered")
    if not total["flops"]:
        print("nothing to run")
        return
    bound = compiled.experiment.search.time_bound
    flops, seconds = (
        between(total["flops_least"], total["flops"]),
        format_seconds(total["seconds"]),
    )
    print(f"to run: {format_count(total['tokens'])} tokens, {flops} FLOPs, {seconds} {bound}")
    print(f"times rest on {total['basis']}")


def _line(
    group: "list[PlannedTrial]",
    axes: list[str],
    solved: list[str],
    active: bool,
    states: Mapping[str, str],
    clock: "Clock",
) -> list[str]:
    first = group[0]
    found = sorted({states[planned.digest] for planned in group})
    return [
        first.digest[:10],
        "/".join(found),
        *(brief(first.axes.get(path, "-")) for path in axes),
        *(str(reduce(getattr, path.split("."), first.trial)) for path in solved),
        str(len(group)),
        f"{first.params.total:,}",
        *([f"{first.params.active:,}"] if active else []),
        format_count(sum(planned.tokens for planned in group)),
        *cost(group, clock),
    ]
