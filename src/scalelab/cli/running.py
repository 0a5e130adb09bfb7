"""`run`: run what is missing of a spec."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scalelab.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    JobsOption,
    JsonOption,
    OnlyOption,
    ReplaceOption,
    SetOption,
    SpecArgument,
    StoreOption,
    print_json,
)
from scalelab.cli.planning import compiled_plan, preview
from scalelab.core.errors import UserError

if TYPE_CHECKING:
    from scalelab.run.driver import Options


def run(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    executor: Annotated[
        Literal["ray", "inline"],
        typer.Option("--executor", help="ray (parallel) or inline (in this process)."),
    ] = "ray",
    address: Annotated[
        str | None, typer.Option("--address", help="A Ray cluster: auto, or host:port.")
    ] = None,
    jobs: JobsOption = None,
    settings: SetOption = None,
    only: OnlyOption = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="Stop after this long, such as 2h; run again to go on."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    replace: ReplaceOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, as `plan` does.")
    ] = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of a spec; an interrupted run goes on where it was."""
    from scalelab.cli.preparing import with_corpora

    seconds = parsed_seconds(time)
    if dry_run:
        preview(compiled_plan(spec, settings or [], store), only, store, as_json)
        return
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
            lambda: _run(spec, settings or [], only, options, store, replace, as_json),
            options.stream,
        )
    )


def _run(
    spec: Path,
    settings: list[str],
    only: str | None,
    options: "Options",
    store: str,
    replace: bool,
    as_json: bool,
) -> int:
    """Run, and tell the end; gives the exit code."""
    from scalelab.plan.diff import choose
    from scalelab.run.driver import drive, open_for_run
    from scalelab.run.leaving import leaving
    from scalelab.run.older import older_note, older_results
    from scalelab.run.pretrained import check_there
    from scalelab.store.listing import list_trials

    compiled = compiled_plan(spec, settings, store)
    chosen = choose(compiled, only)
    check_there(chosen, store, str(options.folder))
    with open_for_run(store, compiled.experiment.execution, options) as opened:
        left = leaving(opened, compiled)
        if not replace:
            left.refuse(compiled.document)
        older = older_results(
            opened, chosen, opened.results([planned.digest for planned in chosen.trials])
        )
        for note in (older_note(older), left.note):
            if note:
                print(note, file=options.stream)
        ended = drive(compiled, opened, options, chosen=chosen)
        rows = list_trials(opened, [compiled.experiment.name]) if as_json else []
    if as_json:
        print_json(
            {
                "experiment": compiled.experiment.name,
                **ended.as_dict(),
                "older_recipes": [one.as_dict() for one in older],
                "left": left.trials,
                "trials": rows,
            }
        )
    else:
        print(ended)
    return ended.exit_code


def parsed_seconds(text: str | None) -> float | None:
    """What `--time` says. Raises UserError."""
    from scalelab.core.units import parse_seconds

    try:
        return None if text is None else parse_seconds(text)
    except UserError as error:
        raise error.at("--time") from error
