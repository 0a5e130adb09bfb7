"""`report`: draw figures from the store."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scalelab.cli.faults import as_user_error, print_error
from scalelab.cli.options import (
    DEFAULT_STORE,
    ExperimentOption,
    FilterOption,
    JsonOption,
    StoreOption,
    place_option,
    print_json,
)
from scalelab.core.errors import UserError

if TYPE_CHECKING:
    from scalelab.report import Report
    from scalelab.store.reader import Reader

Format = Literal["html", "png", "svg"]


def report(
    fig: Annotated[
        str | None,
        typer.Option(
            "--fig", help="Number or name of a figure; every one that has data without it."
        ),
    ] = None,
    experiment: ExperimentOption = None,
    filter_: FilterOption = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="What is drawn: of figs 4 to 7 and 9, such as test_loss."),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            "--x",
            help=(
                "Against what: tokens, flops, seconds, steps (fig 7); decode, prefill, uncached,"
                " training (fig 9)."
            ),
        ),
    ] = None,
    out: Annotated[Path, place_option("--out", "The folder to write into.")] = Path("reports"),
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="html, png or svg.")] = "html",
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Draw nothing; name the figures in --out that are out of date."
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Draw figures as pages that open from disk."""
    from scalelab import report as room
    from scalelab.store import open_store

    options = {name: value for name, value in (("metric", metric), ("x", x)) if value is not None}
    if check:
        chosen = {
            "fig": fig,
            "experiment": experiment,
            "filter": filter_,
            **options,
            "format": None if format_ == "html" else format_,
        }
        _refuse([f"--{name}" for name, value in chosen.items() if value is not None])
    if options and fig is None:
        raise UserError(f"--{next(iter(options))} belongs to one figure", cure="name it with --fig")
    if not check:
        _check_folder(out)
    with open_store(store, mode="read") as opened:
        if check:
            _check(opened, out, as_json)
        if fig is None:
            drawn = room.draw_all(
                opened, experiments=experiment, filter=filter_, out=out, format=format_
            )
        else:
            path = room.draw(
                opened,
                fig,
                experiments=experiment,
                filter=filter_,
                options=options,
                out=out,
                format=format_,
            )
            drawn = room.Report({fig: path}, [])
    if not drawn.paths and not drawn.failures:
        cure = (
            "`scalelab report --fig N` says what a figure lacks; a first spec to run is"
            " specs/facts_vs_params.yaml"
        )
        raise UserError("no figure has data in this store", cure=cure, where=store)
    _print_drawn(drawn, as_json)
    codes = [
        print_error(one.error, f"figure {one.number} ({one.name}) was not drawn: ")
        for one in drawn.failures
    ]
    if show and drawn.paths:
        webbrowser.open(next(iter(drawn.paths.values())).resolve().as_uri())
    if codes:
        raise typer.Exit(max(codes))


def _print_drawn(drawn: "Report", as_json: bool) -> None:
    """Print what was drawn; the figures that failed are told on stderr."""
    paths = {name: str(path) for name, path in drawn.paths.items()}
    if not as_json:
        print("\n".join(paths.values()))
        return
    index = {"index": paths.pop("index")} if "index" in paths else {}
    figures = [{"figure": name, "path": path} for name, path in paths.items()]
    failed = [
        {"figure": one.name, "error": str(as_user_error(one.error))} for one in drawn.failures
    ]
    print_json({"figures": figures, "failed": failed, **index})


def _check_folder(out: Path) -> None:
    """Raises UserError where a file is in the way: before figures, whose fits may take minutes."""
    from scalelab.spec.document import exists

    there = next((place for place in (out, *out.parents) if exists(place)), None)
    if there is not None and not there.is_dir():
        raise UserError("is no folder", cure="name another folder with --out", where=str(there))


def _refuse(chosen: list[str]) -> None:
    """`--check` looks at the whole folder: what would choose among its figures is refused, not
    ignored.
    """
    if chosen:
        cure = f"leave {'it' if len(chosen) == 1 else 'them'} out"
        raise UserError(
            f"--check looks at every figure in the folder and takes no {' and no '.join(chosen)}",
            cure=cure,
        )


def _check(store: "Reader", out: Path, as_json: bool) -> None:
    """Says which figures are out of date, and ends with 1 where some are."""
    from scalelab import report as room

    stale = room.check(store, out)
    if as_json:
        print_json({"stale": stale})
    else:
        print("\n".join(f"out of date: {name}" for name in stale) or "every figure is up to date")
    raise typer.Exit(1 if stale else 0)
