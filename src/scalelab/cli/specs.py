"""`specs`: the specs and spaces that can be run by name."""

from typing import Annotated, Any

import typer

from scalelab.cli.options import JsonOption, print_json, print_table
from scalelab.core.errors import UserError

specs = typer.Typer(
    help="List the specs that can be run by name, or copy one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@specs.callback()
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the specs and spaces that can be run by name: those in specs/, and scalelab's own."""
    if context.invoked_subcommand is not None:
        return
    rows = _rows()
    if as_json:
        print_json({"specs": rows})
        return
    for kind, title in (("spec", "scalelab run NAME"), ("space", "scalelab optimize --space NAME")):
        print_table(
            [title, "from", "about"],
            [
                [row["name"], "scalelab" if row["shipped"] else row["path"], row["about"]]
                for row in rows
                if row["kind"] == kind
            ],
        )
        print()
    print("`scalelab specs copy NAME` copies one of scalelab's to specs/, to change it")


@specs.command()
def copy(
    name: Annotated[str, typer.Argument(help="A name that `scalelab specs` lists.")],
    as_json: JsonOption = False,
) -> None:
    """Copy one of scalelab's specs, with what it extends, to specs/."""
    from scalelab.spec import shipped

    written, kept = shipped.copy(name)
    if as_json:
        print_json({"written": [*map(str, written)], "kept": [*map(str, kept)]})
        return
    for path in written:
        print(path)
    for path in kept:
        print(f"{path}, which it extends, was there already and stays")


def _rows() -> list[dict[str, Any]]:
    from scalelab.spec import shipped
    from scalelab.spec.load import read

    rows = []
    for name, path in shipped.names().items():
        try:
            data = read(path, ()).data
        except UserError as error:
            data = {"about": f"can't be read: {error}"}
        space = "objectives" in data
        below = f"{shipped.SPACES}/"
        rows.append(
            {
                "name": name.removeprefix(below) if space else name,
                "kind": "space" if space else "spec",
                "path": str(path),
                "shipped": shipped.is_shipped(path),
                "about": " ".join(str(data.get("about", "")).split()),
            }
        )
    return rows
