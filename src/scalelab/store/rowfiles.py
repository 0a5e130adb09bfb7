"""Tables that are not CSV: JSON Lines and Parquet, as a header and cells of text, so that a mapping
reads them as it reads CSV.
"""

import json
import math
from pathlib import Path
from typing import Any

from scalelab.core.errors import UserError

JSON_LINES, PARQUET = (".jsonl", ".ndjson"), (".parquet", ".pq")

Row = tuple[int, list[str]]
"""The line (or the number of the row) and its cells."""


def is_row_file(table: Path) -> bool:
    """Whether the file's name says that it is one of these."""
    return table.suffix.lower() in (*JSON_LINES, *PARQUET)


def read_row_file(table: Path) -> tuple[list[str], list[Row]]:
    """Header and rows; null and what a row lacks are empty cells.

    Raises UserError for a file that cannot be read, a row that is no object, and a value that is no
    number, text or truth value.
    """
    is_json = table.suffix.lower() in JSON_LINES
    records = _json_lines(table) if is_json else _parquet(table)
    header = list(dict.fromkeys(name for _, record in records for name in record))
    if not header:
        raise UserError("has no rows", cure="name a table with rows", where=str(table))
    return header, [
        (line, [_cell(record.get(name), name, table, line) for name in header])
        for line, record in records
    ]


def _json_lines(table: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", cure="name a table", where=str(table)
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            "is not text in UTF-8", cure="save it in UTF-8", where=str(table)
        ) from error
    found: list[tuple[int, dict[str, Any]]] = []
    cure = 'write one JSON object on each line, as {"N": 1e8, "loss": 2.9}'
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{table}:{number}"
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise UserError(f"the line is not JSON: {error}", cure=cure, where=where) from error
        if not isinstance(record, dict):
            raise UserError("the line is no JSON object", cure=cure, where=where)
        found.append((number, record))
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refused where a key stands in it twice: one of the values would be lost."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key `{max(names, key=names.count)}` stands in it twice")
    return record


def _parquet(table: Path) -> list[tuple[int, dict[str, Any]]]:
    import polars as pl

    try:
        with table.open("rb") as file:
            frame = pl.read_parquet(file)
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror or error}", cure="name a table", where=str(table)
        ) from error
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"is not Parquet: {error}", cure="write it with Polars or pandas", where=str(table)
        ) from error
    return list(enumerate(frame.to_dicts(), 1))


def _cell(value: Any, name: str, table: Path, line: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple | dict | bytes):
        raise UserError(
            f"row {line}, column `{name}`: a {type(value).__name__} is no cell of a table",
            cure="flatten it, or leave the column out",
            where=f"{table}:{line}",
        )
    return str(value).strip()
