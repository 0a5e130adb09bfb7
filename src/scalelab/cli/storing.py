"""`import` and `export`: what comes into the store from elsewhere, and what leaves it."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scalelab.cli.options import (
    DEFAULT_STORE,
    ExperimentOption,
    JsonOption,
    StoreOption,
    describe_counts,
    place_argument,
    place_option,
    print_json,
    print_warnings,
)
from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError
from scalelab.core.secrets import masked

SHOWN = 5
"""Digests that a sentence names; `--json` has them all."""


def import_(
    source: Annotated[
        Path,
        place_argument("A table (with --mapping), another store, or a bundle.", metavar="FILE"),
    ],
    mapping: Annotated[
        Path | None, place_option("--mapping", "YAML that says which column is what.")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", help="Only rows that match: --filter 'state == done'"),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the experiment's trials that are not in this table."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Bring in a published table, or the trials of another store or of a bundle."""
    if mapping is None:
        if add or filter_ is not None:
            option = "--add" if add else "--filter"
            raise UserError(
                f"{option} is for tables", cure=f"give --mapping M.yaml, or leave {option} out"
            )
        counts = _merge(source, store)
        said = f"brought into {masked(store)}"
    else:
        counts = _adopt(source, mapping, store, filter_, add=add)
        said = f"are in {masked(store)}"
    if as_json:
        print_json({**counts, "store": store})
        return
    print(f"{counts['imported']:,} trials of {source.name} {said}" + _movement(counts))
    _print_conflicts(counts)
    if counts.get("left_out"):
        print("rows left out: " + describe_counts(counts["left_out"]))


def _merge(source: Path, store: str) -> dict[str, Any]:
    from scalelab.core.formats import HEAD
    from scalelab.store.bundle import is_zip, unpacked
    from scalelab.store.rowfiles import is_row_file
    from scalelab.store.sheet import foreign, read_bytes

    head = read_bytes(source, HEAD)
    if is_zip(head):
        with unpacked(source) as bundled:
            if bundled is not None:
                return _merge_store(bundled, store, source)
    if head and not head.startswith(b"SQLite format 3"):
        known = None if is_row_file(source) else foreign(head)
        if known is not None:
            what, cure = known
            raise UserError(f"is {what}, not a table or a store", cure=cure, where=str(source))
        raise UserError(
            "a table needs a mapping of its columns",
            cure="give it with --mapping M.yaml",
            where=str(source),
        )
    return _merge_store(source, store, source)


def _merge_store(place: Path, store: str, source: Path) -> dict[str, Any]:
    """Merge the store at a place; errors in it name the source that the user gave."""
    from scalelab.store import open_store
    from scalelab.store.incoming import checked
    from scalelab.store.merge import merge

    try:
        with open_store(place, mode="read") as other:
            whole = checked(other)  # what is no store, or a damaged one, makes none
            with open_store(store, mode="write") as opened:
                merged = merge(whole, opened)
    except UserError as error:
        if error.where != str(place):
            raise
        # --store names the one that is imported into.
        cure = error.cure.replace(" with --store", "")
        raise UserError(error.what, cure=cure, where=str(source)) from error
    return {
        "imported": merged.imported,
        "differing": len(merged.differing),
        "differing_trials": merged.differing,
        "outside": merged.outside,
    }


def _adopt(
    source: Path, mapping: Path, store: str, filter_: str | None, *, add: bool
) -> dict[str, Any]:
    from scalelab.core.filter import compile_filter
    from scalelab.store import open_store
    from scalelab.store.adopt import adopt
    from scalelab.store.table import read_published

    keep = None if filter_ is None else compile_filter(filter_)
    published = read_published(source, mapping, keep=keep)  # what does not fit makes no store
    with open_store(store, mode="write") as opened:
        adopted = adopt(opened, published, add=add)
    print_warnings(published.warnings)
    return {
        "imported": len(published.trials),
        **vars(adopted),
        "states": dict(Counter(result.state for result in published.results)),
        "left_out": dict(published.left_out),
        "warnings": published.warnings,
    }


def _movement(counts: dict[str, Any]) -> str:
    """How the experiment changed, and the trials without an ordinary result."""
    if "new" not in counts:
        return ""
    parts = [f"{counts['new']:,} new, {counts['kept']:,} kept"]
    if counts["changed"]:
        parts[0] += f" ({counts['changed']:,} of them with another result, which replaces the old)"
    if counts["left"]:
        parts.append(f"{counts['left']:,} left the experiment (and stay in the store)")
    odd = {state: count for state, count in counts["states"].items() if state != "done"}
    return f": {', '.join(parts)}" + (f"; {describe_counts(odd)}" if odd else "")


def _print_conflicts(counts: dict[str, Any]) -> None:
    """What a merge did not bring in."""
    if counts.get("differing"):
        shown = ", ".join(digest[:SHORT] for digest in counts["differing_trials"][:SHOWN])
        more = ", ..." if counts["differing"] > SHOWN else ""
        print(
            f"{counts['differing']:,} trials have another result here, which stays: {shown}{more}"
        )
    if counts.get("outside"):
        print(
            f"{counts['outside']:,} trials stay outside of their experiments, where other trials"
            " have their places here"
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
