"""`run`: run what is missing of a spec."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from scalelab.cli.planning import chosen_part, compiled_plan, preview
from scalelab.core.errors import UserError
from scalelab.core.locations import is_url

if TYPE_CHECKING:
    from scalelab.run.driver import Options
    from scalelab.run.summary import Summary
    from scalelab.store.store import Store


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
        compiled = compiled_plan(spec, settings or [], store)
        preview(compiled, chosen_part(compiled, only), store, as_json)
        return
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
    from scalelab.run.driver import drive, ready, start_patience
    from scalelab.run.leaving import leaving
    from scalelab.run.older import older_note, older_results
    from scalelab.run.pretrained import check_there
    from scalelab.store import open_store

    compiled = compiled_plan(spec, settings, store)
    chosen = chosen_part(compiled, only)
    check_there(chosen, store, str(options.folder))
    with ExitStack() as stack:
        if not is_there(store):
            stack.enter_context(
                ready(compiled.experiment.execution, options)
            )  # a run that is refused makes no store
        patience = start_patience(compiled.experiment.execution, options)
        opened = stack.enter_context(open_store(store, mode="write", patience=patience))
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
        rows = result_rows(opened, compiled.experiment.name) if as_json else []
    if as_json:
        print_json(
            {
                "experiment": compiled.experiment.name,
                **outcome(ended),
                "older_recipes": [one.as_dict() for one in older],
                "left": left.trials,
                "trials": rows,
            }
        )
    else:
        print(ended)
    return ended.exit_code


def outcome(ended: "Summary") -> dict[str, Any]:
    """How a run ended, for `--json`."""
    return {
        "outcomes": ended.outcomes,
        "known": ended.known,
        "failed": ended.failed,
        "failed_before": ended.failed_before,
        "seconds": ended.seconds,
        "stopped": ended.stopped,
    }


def default_folder(store: str) -> str:
    """Where trials keep checkpoints and models: beside a store that is a file, else in results/."""
    return "results/trials" if is_url(store) else str(Path(store).parent.resolve() / "trials")


def is_there(store: str) -> bool:
    """Whether the store exists already."""
    if not is_url(store):
        return Path(store).exists()
    from scalelab.store import open_store

    try:
        open_store(store, mode="read").close()
    except UserError:
        return False
    return True


def result_rows(opened: "Store", experiment: str) -> list[dict[str, Any]]:
    """The trials of an experiment in the form of every `--json` answer."""
    from scalelab.cli.showing import trial_json

    rows = [
        trial_json(experiment, record, result) for record, _, result in opened.members(experiment)
    ]
    return [{key: value for key, value in row.items() if key != "trial"} for row in rows]


def parsed_seconds(text: str | None) -> float | None:
    """What `--time` says. Raises UserError."""
    from scalelab.core.units import parse_seconds

    try:
        return None if text is None else parse_seconds(text)
    except UserError as error:
        raise error.at("--time") from error
