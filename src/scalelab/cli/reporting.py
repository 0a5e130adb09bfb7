"""`report`: draw figures from the store."""

import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import typer

from scalelab.cli.options import DEFAULT_STORE, ExperimentOption, FilterOption, JsonOption, StoreOption, print_json
from scalelab.core.errors import UserError

Format = Literal["html", "png", "svg"]


def report(
    fig: Annotated[str | None, typer.Option("--fig", help="Number or name of a figure; every one that has data without it.")] = None,
    experiment: ExperimentOption = None,
    filter_: FilterOption = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to write into.")] = Path("reports"),
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="html, png or svg.")] = "html",
    check: Annotated[bool, typer.Option("--check", help="Draw nothing; name the figures that are out of date.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Draw figures as pages that open from disk."""
    from scalelab import report as room
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        if check:
            stale = room.check(opened, out)
            if as_json:
                print_json({"stale": stale})
            else:
                print("\n".join(f"out of date: {name}" for name in stale) or "every figure is up to date")
            raise typer.Exit(1 if stale else 0)
        figures = [fig] if fig is not None else room.with_data(opened, experiment)
        if not figures:
            raise UserError(
                "no figure has data in this store", cure="run a spec first, such as `scalelab run specs/facts_vs_params.yaml`", where=store
            )
        paths = [room.draw(opened, figure, experiments=experiment, filter=filter_, out=out, format=format_) for figure in figures]
    if as_json:
        print_json({"figures": [{"figure": str(figure), "path": str(path)} for figure, path in zip(figures, paths, strict=True)]})
    else:
        print("\n".join(map(str, paths)))
    if show:
        webbrowser.open(paths[0].resolve().as_uri())
