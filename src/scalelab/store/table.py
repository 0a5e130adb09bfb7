"""A published table and its mapping -> trials with results."""

import csv
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scalelab.core.canon import canonical_json, sha256
from scalelab.core.errors import UserError, nearest
from scalelab.store.mapping import LENGTHS, Mapping, read_mapping
from scalelab.store.records import Result, TrialRecord
from scalelab.store.rowfiles import is_row_file, read_row_file

Row = tuple[int, list[str]]
"""The line that a row ends on, and its cells."""


@dataclass(frozen=True)
class Published:
    """A published table as trials of an experiment."""

    experiment: str
    trials: list[TrialRecord] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


def read_published(table: Path, mapping: Path, *, repeats: bool = False) -> Published:
    """Read a table (CSV, JSON Lines, Parquet) through a mapping.

    Raises UserError with file, row and column of the first fault.

    A trial's digest covers the experiment, every mapped column but `metrics.*` and `seconds`, and
    the seed (0 where none is mapped), so that the same table gives the same trials again. Rows that
    are equal in all of it are an error, or, with `repeats`, replicates of one configuration.
    """
    checked = read_mapping(mapping)
    header, rows = read_row_file(table) if is_row_file(table) else _read(table)
    for column in checked.columns:
        if column.name not in header:
            raise UserError(
                f"the table {table} has no column `{column.name}`",
                cure=nearest(column.name, header),
                where=column.place,
            )
    parsed = _parse_extras(
        [_parse(table, number, row, header, checked) for number, row in enumerate(rows, 1)], checked
    )
    extras = _extras(header, rows, checked)
    published, replicates, seen = Published(checked.experiment), Counter[str](), dict[str, int]()
    for number, (values, extra) in enumerate(zip(parsed, extras, strict=True), 1):
        identity = {
            column.key: values[column.key] for column in checked.columns if column.is_identity
        }
        record = _record(checked.experiment, identity, extra, replicates)
        if record.digest in seen and repeats:
            record = replace(record, digest=sha256(record.identity | {"row": number}))
        elif record.digest in seen:
            what = f"row {number} is the same trial as row {seen[record.digest]}"
            cure = (
                "map a column that tells them apart: `seed`, or any other, as `extra.dataset:"
                " dataset`"
            )
            raise UserError(what, cure=cure, where=f"{table}:{rows[number - 1][0]}")
        seen[record.digest] = number
        metrics = {
            key.removeprefix("metrics."): value
            for key, value in values.items()
            if key.startswith("metrics.")
        }
        published.trials.append(record)
        published.results.append(
            Result("done", metrics, values.get("seconds"), record.steps or None)
        )
    return published


def _read(table: Path) -> tuple[list[str], list[Row]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [
                (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells
            ]
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", cure="name a CSV table", where=str(table)
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            "is not text in UTF-8", cure="save it as CSV in UTF-8", where=str(table)
        ) from error
    except csv.Error as error:
        raise UserError(
            f"is not CSV: {error}", cure="save it as CSV with commas", where=str(table)
        ) from error
    if len(rows) < 2:
        raise UserError(
            "has no rows",
            cure="name a table with a line of column names and rows below it",
            where=str(table),
        )
    (_, header), *below = rows
    for name, count in Counter(header).items():
        if count > 1:
            raise UserError(
                f"has {count} columns named `{name}`",
                cure="give each a name of its own",
                where=f"{table}:1",
            )
    for number, (line, cells) in enumerate(below, 1):
        if len(cells) != len(header):
            what = f"row {number} has {len(cells)} cells, and there are {len(header)} columns"
            raise UserError(what, cure="mend the row", where=f"{table}:{line}")
    return header, below


def _parse(
    table: Path, number: int, row: Row, header: list[str], mapping: Mapping
) -> dict[str, Any]:
    line, cells = row
    values: dict[str, Any] = {}
    for column in mapping.columns:
        try:
            values[column.key] = column.parse(cells[header.index(column.name)])
        except ValueError as error:
            what, _, cure = str(error).partition("; ")
            raise UserError(
                f"row {number}, column `{column.name}`: {what}", cure=cure, where=f"{table}:{line}"
            ) from error
    return values


def _parse_extras(parsed: list[dict[str, Any]], mapping: Mapping) -> list[dict[str, Any]]:
    """Mapped `extra.*` columns have no form that a spec gives them: they are typed as a whole."""
    for key in [column.key for column in mapping.columns if column.key.startswith("extra.")]:
        for row, value in zip(parsed, _typed([row[key] for row in parsed]), strict=True):
            row[key] = value
    return parsed


def _extras(header: list[str], rows: list[Row], mapping: Mapping) -> list[dict[str, Any]]:
    """The columns that the mapping does not name: numbers where the whole column is numbers, else
    text; empty is null.
    """
    named = {column.name for column in mapping.columns}
    kept = {
        name: _typed([cells[index] for _, cells in rows])
        for index, name in enumerate(header)
        if name not in named
    }
    return [{name: cells[index] for name, cells in kept.items()} for index in range(len(rows))]


def _typed(cells: list[str]) -> list[Any]:
    for kind in (int, float):
        try:
            values = [kind(cell) if cell else None for cell in cells]
            canonical_json(values)  # A NaN is no number that JSON could keep.
        except ValueError:
            continue
        return values
    return [cell or None for cell in cells]


def _record(
    experiment: str, identity: dict[str, Any], extra: dict[str, Any], replicates: Counter[str]
) -> TrialRecord:
    seed = identity.get("seed", 0)
    others = {key: value for key, value in identity.items() if key != "seed"}
    place = canonical_json(others)
    replicates[place] += 1
    axes = {
        key: value
        for key, value in others.items()
        if key not in LENGTHS and not key.startswith("params.")
    }
    whole = {"imported": experiment, "columns": others, "seed": seed}
    length = {
        name: others.get(name, others.get(f"budget.{name}", 0))
        for name in ("steps", "tokens", "exposures", "flops")
    }
    return TrialRecord(
        digest=sha256(whole),
        identity=whole,
        trial=_nested(axes | {"seed": seed}),
        axes=axes,
        replicate=replicates[place] - 1,
        seed=seed,
        params={
            key.removeprefix("params."): value
            for key, value in others.items()
            if key.startswith("params.")
        },
        **length,
        origin="imported",
        extra=extra,
    )


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Spec path -> value, as the tree that the paths describe."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        node = tree
        for step in above:
            node = node.setdefault(step, {})
        node[last] = value
    return tree
