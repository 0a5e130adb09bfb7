"""Options that several commands share, and how their answers are printed."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_NUMERIC = re.compile(r"-?[\d,.]+(e[+-]?\d+)?[kMBTPE%]?|([\d.]+[smhd] ?)+")

DEFAULT_STORE = "results/scalelab.db"
DEFAULT_DATA = "results/data"

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", help="The store: a path or a postgresql:// URL.", envvar="SCALELAB_STORE"
    ),
]
DataOption = Annotated[
    str, typer.Option("--data", help="Folder or URL where prepared corpora lie.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of the spec: --set optim.lr=3e-3"),
]
OnlyOption = Annotated[
    str | None, typer.Option("--only", help="Only trials that match: --only 'task.people <= 64'")
]
ExperimentOption = Annotated[
    list[str] | None,
    typer.Option("--experiment", help="Only this experiment (may be given several times)."),
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", help="Only rows that match: --filter 'model.width >= 16'")
]
SpecArgument = Annotated[
    Path, typer.Argument(help="A spec file, such as specs/facts_vs_params.yaml.")
]
DigestArgument = Annotated[
    str, typer.Argument(help="A trial's digest; the first digits are enough.")
]


def print_json(value: Any) -> None:
    """One JSON object on stdout; what JSON has no number for (NaN, infinity) becomes null."""
    json.dump(_finite(value), sys.stdout, allow_nan=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; on a terminal no wider than it. Numbers stand right, words left."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    right = [all(_is_numeric(row[index]) for row in cells[1:]) for index in range(len(columns))]
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


def _is_numeric(cell: str) -> bool:
    """A number, a count with its suffix, or a duration; a digest may begin with a digit and is
    none.
    """
    return cell in ("", "-") or _NUMERIC.fullmatch(cell) is not None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
