"""`optimize`: a guided search over a space, to its best and its worst."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from scalelab.cli.running import parsed_seconds
from scalelab.core.errors import UserError

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
    from scalelab.run.driver import Options, default_folder

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
    from scalelab.cli.concluding import conclude, show
    from scalelab.cli.spaces import cold_start
    from scalelab.optimize.opening import base_of, open_search
    from scalelab.optimize.result import read_result
    from scalelab.run.driver import open_for_run
    from scalelab.store.listing import list_trials

    experiment = base_of(space, document)
    with open_for_run(store, experiment.execution, options) as opened:
        search = open_search(opened, space, document, warm=warm, retry_failed=options.retry_failed)
        if not replace:
            search.leaving(opened).refuse(document)
        if cold := cold_start(search):
            print(cold, file=options.stream)
        ended = search.run(opened, options)
        if not as_json:
            print(ended)
        result = read_result(opened, space.name)
        concluded = None
        if result is not None and conclusion and ended.stopped != "interrupted":
            concluded = conclude(opened, result, space, document, store)
        rows = list_trials(opened, [space.name]) if as_json else []
    if as_json:
        print_json(
            {
                "experiment": space.name,
                **ended.as_dict(),
                **(result.as_dict() if result else {}),
                **(concluded.as_dict() if concluded else {}),
                "trials": rows,
            }
        )
    elif concluded is not None:
        show(concluded)
    elif result is None:
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
