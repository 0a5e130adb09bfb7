"""Options that several commands share, and how their answers are printed."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from scalelab.core.errors import UserError
from scalelab.core.jsonable import with_nulls
from scalelab.core.locations import expanded, expanded_path
from scalelab.core.units import parse_whole

_NUMERIC = re.compile(r"-?[\d,.]+(e[+-]?\d+)?[kMBTPE%]?|([\d.]+(e-\d+)?[smhd] ?)+")
"""A number, a count with its suffix, or a duration; not a digest that begins with a digit."""

DEFAULT_STORE = "results/scalelab.db"
DEFAULT_DATA = "results/data"


def located(param: typer.CallbackParam, value: "str | Path | None") -> "str | Path | None":
    """The place that an option names, `~` and `$NAME` expanded; every option of a path has it."""
    where = param.opts[0] if param.opts[0].startswith("-") else ""
    if isinstance(value, Path):
        return expanded_path(value, where)
    return None if value is None else expanded(value, where)


def place_option(name: str, help: str, **others: Any) -> Any:
    """An option whose value is a path, or a URL where the command takes one."""
    return typer.Option(name, help=help, callback=located, **others)


def place_argument(help: str, **others: Any) -> Any:
    """An argument that is a path."""
    return typer.Argument(help=help, callback=located, **others)


def spec_file(*, space: bool = False) -> Callable[[typer.CallbackParam, Path | None], Path | None]:
    """What an option or argument of a spec names: a path, or a name in `specs/`; see
    `spec.shipped.find`. Standard error says where one of scalelab's own is taken.
    """

    def found(param: typer.CallbackParam, value: Path | None) -> Path | None:
        from scalelab.spec import shipped

        place = located(param, value)
        if place is None:
            return None
        path = shipped.find(Path(place), shipped.SPACES if space else "")
        if path != Path(place) and shipped.is_shipped(path):
            name = path.relative_to(shipped.shipped_folder()).with_suffix("")
            what = f"using scalelab's own spec `{name}`"
            print(f"{what}; `scalelab specs copy {name}` copies it to specs/", file=sys.stderr)
        return path

    return found


SEEDS = 2**63 - 1
"""The largest seed."""


def count_option(name: str, help: str, *, least: int = 1, most: int) -> Any:
    """An option whose value is a whole number, written like 16, 10k or 1e6."""

    def counted(value: str | None) -> int | None:
        return None if value is None else _count(value, least, most, name)

    # Its annotation is that of the number; what is parsed is what the user writes.
    return typer.Option(name, help=help, parser=str, metavar="N", callback=counted)


def _count(text: str, least: int, most: int, where: str) -> int:
    try:
        number = parse_whole(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        what = f"`{text}` is no whole number from {least:,} to {most:,}"
        raise UserError(what, cure="write it like 16, 10k or 1e6", where=where)
    return number


StoreOption = Annotated[
    str,
    place_option("--store", "The store: a path or a postgresql:// URL.", envvar="SCALELAB_STORE"),
]
DataOption = Annotated[str, place_option("--data", "Folder or URL where prepared corpora lie.")]
ArtifactsOption = Annotated[
    str | None,
    place_option(
        "--artifacts",
        "Folder or URL for checkpoints and models; beside the store without it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of the spec: --set optim.lr=3e-3"),
]
JobsOption = Annotated[
    int | None,
    count_option("--jobs", "Trials at once; as many as there is room for without it.", most=10_000),
]
OnlyOption = Annotated[
    str | None, typer.Option("--only", help="Only trials that match: --only 'params.total < 30M'")
]
ExperimentOption = Annotated[
    list[str] | None,
    typer.Option("--experiment", help="Only this experiment (may be given several times)."),
]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", help="Only rows that match: --filter '1M <= params.total < 30M'"),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Take over the experiment of another spec file, though results of it leave.",
    ),
]
SpecArgument = Annotated[
    Path,
    typer.Argument(
        help="A spec: a file, or a name that `scalelab specs` lists.", callback=spec_file()
    ),
]
DigestArgument = Annotated[
    str, typer.Argument(help="A trial's digest; the first digits are enough.")
]


def print_json(value: Any) -> None:
    """One JSON object on stdout; what JSON has no number for (NaN, infinity) becomes null."""
    json.dump(with_nulls(value), sys.stdout, allow_nan=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; on a terminal no wider than it. Numbers stand right, words left."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    right = [
        all(row[index] in ("", "-") or _NUMERIC.fullmatch(row[index]) for row in cells[1:])
        for index in range(len(columns))
    ]
    limit = os.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        print(line.rstrip()[:limit])


def print_warnings(warnings: Iterable[Mapping[str, str]]) -> None:
    """Warnings with `code` and `text`, on stderr."""
    for warning in warnings:
        print(f"warning {warning['code']}: {warning['text']}", file=sys.stderr)


def describe_counts(counts: Mapping[str, int]) -> str:
    """`3 pruned, 1 running`."""
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def number(value: Any) -> str:
    """A value in a table: six digits of a float, a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
