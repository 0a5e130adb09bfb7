"""`import` and `export`: what comes into the store from elsewhere, and what leaves it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from scalelab.cli.options import (
    DEFAULT_STORE,
    ExperimentOption,
    JsonOption,
    StoreOption,
    place_argument,
    place_option,
    print_json,
)
from scalelab.core.errors import UserError


def import_(
    source: Annotated[
        Path, place_argument("A table (CSV, with --mapping) or another store.", metavar="FILE")
    ],
    mapping: Annotated[
        Path | None, place_option("--mapping", "YAML that says which column is what.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Bring in a published table, or the trials of another store."""
    from scalelab.store import open_store

    if not source.exists():
        raise UserError("does not exist", cure="name a CSV table or a store", where=str(source))
    if mapping is None and source.suffix.lower() == ".csv":
        raise UserError(
            "a table needs a mapping of its columns",
            cure="give it with --mapping M.yaml",
            where=str(source),
        )
    if mapping is None:
        from scalelab.store.merge import merge

        open_store(source, mode="read").close()  # what is no store makes none
        with open_store(store, mode="write") as opened:
            count = merge(opened, source)
    else:
        from scalelab.store.adopt import adopt
        from scalelab.store.table import read_published

        read_published(source, mapping)  # a table that does not fit makes no store
        with open_store(store, mode="write") as opened:
            count = adopt(opened, source, mapping)
    if as_json:
        print_json({"imported": count, "store": store})
    else:
        print(
            f"{count:,} trials of {source.name} {'brought into' if mapping is None else 'are in'}"
            f" {store}"
        )


def export(
    out: Annotated[Path, place_option("--out", "The file (bundle) or folder to write.")] = Path(
        "export"
    ),
    format_: Annotated[
        Literal["csv", "parquet", "bundle"],
        typer.Option("--format", help="csv, parquet or bundle."),
    ] = "csv",
    experiment: ExperimentOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write trials and metrics as tables, or everything as one bundle."""
    from scalelab.store import open_store
    from scalelab.store.export import export as write

    with open_store(store, mode="read") as opened:
        for path in write(opened, out, format_, experiment):
            print(path)
