"""`optimize`: a guided search over a space, to its best and its worst."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scalelab.cli.faults import print_error
from scalelab.cli.options import (
    DEFAULT_STORE,
    SEEDS,
    ArtifactsOption,
    JobsOption,
    JsonOption,
    ReplaceOption,
    SetOption,
    StoreOption,
    count_option,
    print_json,
    spec_file,
)
from scalelab.cli.running import default_folder, is_there, outcome, parsed_seconds, result_rows
from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED

if TYPE_CHECKING:
    from scalelab.run.driver import Options
    from scalelab.run.summary import Summary
    from scalelab.spec.load import Document
    from scalelab.spec.space import Space


def optimize(
    space: Annotated[
        Path,
        typer.Option(
            "--space",
            help="A space: a name in specs/spaces/ or of scalelab's own, or a file.",
            callback=spec_file(space=True),
        ),
    ],
    trials: Annotated[
        int | None,
        count_option(
            "--trials", "Trials in all, those of earlier commands counted in.", most=10**9
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Search for this long, such as 10m.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", help="tpe, random, gp, cmaes or nsga2.")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option("--pruner", help="none, asha, hyperband or median.")
    ] = None,
    seed: Annotated[
        int | None, count_option("--seed", "Seed of what is proposed.", least=0, most=SEEDS)
    ] = None,
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start/--no-warm-start", help="Learn from trials of other experiments."
        ),
    ] = True,
    settings: SetOption = None,
    executor: Annotated[
        Literal["ray", "inline"],
        typer.Option("--executor", help="ray (parallel) or inline (in this process)."),
    ] = "ray",
    address: Annotated[
        str | None, typer.Option("--address", help="A Ray cluster: auto, or host:port.")
    ] = None,
    jobs: JobsOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier search.")
    ] = False,
    replace: ReplaceOption = False,
    artifacts: ArtifactsOption = None,
    conclusion: Annotated[
        bool,
        typer.Option(
            "--conclusion/--no-conclusion",
            help="End with samples, fig. 12 and the best as a spec, or without.",
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show the space and what the store knows of it; run nothing."
        ),
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Write a journal for optuna-dashboard; run nothing.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Search a space for its best trial; the same command goes on where the last one ended."""
    from scalelab.cli import spaces
    from scalelab.cli.preparing import with_corpora
    from scalelab.spec.load_space import load_space

    flags = {"trials": trials, "sampler": sampler, "pruner": pruner, "seed": seed}
    said = [f"{name}={value}" for name, value in flags.items() if value is not None]
    loaded, document = load_space(space, [*(settings or []), *said])
    if dashboard:
        spaces.export(loaded, store, as_json)
        return
    if dry_run:
        spaces.preview(loaded, document, store, warm_start, as_json)
        return
    seconds = parsed_seconds(time)
    if loaded.trials is None and seconds is None:
        what = (
            f"the space `{loaded.name}` has no `trials`, and neither --trials nor --time is given"
        )
        raise UserError(
            what, cure="say when to end: --trials 100, or --time 10m", where=document.path
        )
    from scalelab.run.driver import Options

    options = Options(
        executor=executor,
        jobs=jobs,
        address=address,
        folder=artifacts or default_folder(store),
        time_s=seconds,
        retry_failed=retry_failed,
        stream=sys.stderr if as_json else sys.stdout,
    )
    raise typer.Exit(
        with_corpora(
            lambda: _search(
                loaded, document, options, store, warm_start, replace, conclusion, as_json
            ),
            options.stream,
        )
    )


def _search(
    space: "Space",
    document: "Document",
    options: "Options",
    store: str,
    warm: bool,
    replace: bool,
    conclusion: bool,
    as_json: bool,
) -> int:
    """Search, and tell the end; gives the exit code."""
    from scalelab.cli.concluding import conclude, found_json, searched_in, show
    from scalelab.cli.spaces import base_of, cold_start
    from scalelab.run.driver import drive_search, ready, start_patience
    from scalelab.run.leaving import Leaving
    from scalelab.run.search.guided import GuidedSearch
    from scalelab.run.search.known import known_trials
    from scalelab.store import open_store

    experiment = base_of(space, document)
    with ExitStack() as stack:
        if not is_there(store):
            stack.enter_context(
                ready(experiment.execution, options)
            )  # a search that is refused makes no store
        patience = start_patience(experiment.execution, options)
        opened = stack.enter_context(open_store(store, mode="write", patience=patience))
        known = known_trials(opened, space, document, warm=warm, retry_failed=options.retry_failed)
        search = GuidedSearch(space, document, known, trials=space.trials)
        spec: dict[str, Any] = space.model_dump(mode="json")
        own = set(search.own)
        strange = [
            row.digest
            for row in known
            if row.axes is not None and row.digest not in own and row.state in FINISHED
        ]
        if not replace:
            other = opened.other_source(space.name, document.path, spec)
            Leaving(space.name, len(strange), len(strange), other).refuse(document)
        if cold := cold_start(search):
            print(cold, file=options.stream)
        ended = drive_search(
            search,
            opened,
            options,
            experiment=space.name,
            spec=spec,
            execution=experiment.execution,
            leaving=strange,
            file=document.path,
        )
        if not as_json:
            print(ended)
        searched = searched_in(opened, space.name)
        concluded = None
        if searched is not None and conclusion and ended.stopped != "interrupted":
            concluded = conclude(opened, searched, space, document, store)
        rows = result_rows(opened, space.name) if as_json else []
    if as_json:
        found = {} if searched is None else found_json(searched)
        print_json(
            {
                "experiment": space.name,
                **outcome(ended),
                **found,
                **(concluded.as_dict() if concluded else {}),
                "trials": rows,
            }
        )
    elif concluded is not None:
        show(concluded)
    elif searched is None:
        print(_nothing(ended))
    unexpected = concluded.unexpected if concluded is not None else []
    return max([ended.exit_code, *map(print_error, unexpected)])


def _nothing(ended: "Summary") -> str:
    """The sentence of a search that found nothing."""
    if ended.failed or ended.failed_before or ended.outcomes:
        return (
            "no trial has come to its end with what is searched for; see `scalelab ls` for what"
            " became of them"
        )
    return "no trial has come to its end; the same command goes on, best with more time"
