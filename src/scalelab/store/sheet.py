"""A table as text: the encoding and the delimiter of a file, its header and its rows.

Other programs write CSV in many ways: with commas, semicolons or tabs, in UTF-8, UTF-16 or
Windows-1252, with a line `sep=;` above the header, or with empty rows and columns around the table.
"""

import codecs
import csv
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path

from scalelab.core.errors import UserError
from scalelab.core.formats import HEAD, Group, format_of
from scalelab.spec.document import regular
from scalelab.store.rowfiles import is_row_file, read_row_file

BYTES, ROWS, COLUMNS, CELLS = 2**28, 1_000_000, 10_000, 10_000_000
"""The largest table that is read."""

CELL = csv.field_size_limit()
"""The characters that a cell may have."""

DELIMITERS = (",", ";", "\t", "|")

_BLANK = " ,;\t|"
"""What a row without a value may consist of, whatever the delimiter is."""

SAMPLE = 20
"""Rows that are looked at to find the delimiter."""

Row = tuple[int, list[str]]
"""The line that a row ends on, and its cells."""

_CURES: dict[Group, str] = {
    "archive": "unpack it and name the table in it",
    "data": "write it as CSV",
    "database": "a store is merged without --mapping",
    "document": "name a table",
    "events": "tick `Show data download links` in TensorBoard and download the scalars as CSV",
    "image": "name a table",
    "pointer": "fetch the file with `git lfs pull`",
    "program": "name a table",
    "workbook": "save the sheet as CSV",
}


@dataclass(frozen=True)
class Sheet:
    """A table as text."""

    path: Path
    header: list[str]
    """Names of the columns, white space made single; a name may stand there twice."""
    rows: list[Row]
    """Each as long as the header."""
    delimiter: str
    header_line: int
    sha256: str
    """Of the file's bytes."""


def foreign(head: bytes) -> tuple[str, str] | None:
    """What a file is by its first bytes, where it is no text table, and the cure."""
    if (known := format_of(head)) is not None:
        return known.name, _CURES[known.group]
    if head.startswith(b"PAR1"):
        return "a Parquet file", "give it the suffix .parquet"
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"<(!doctype|html|\?xml|table|head|body|script)", text, re.IGNORECASE):
        return "a web page or XML", "download the table itself, as CSV"
    if re.match(rb"(\{\s*[\"}])|(\[\s*[{\[\]])", text):
        return "JSON", "write one object on each line into a file with the suffix .jsonl, or CSV"
    return None


def read_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a regular file. Raises UserError where it cannot be read."""
    try:
        regular(path)
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the name
        fault = error.strerror if isinstance(error, OSError) else error
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            "does not exist" if missing else f"cannot be read: {fault}",
            cure="name a table or a store",
            where=str(path),
        ) from error


def read_sheet(path: Path, names: Collection[str]) -> Sheet:
    """Read a file as a table.

    `names` are columns that it should have: where two delimiters could be meant, the one is taken
    that gives more of them. Raises UserError with the line for what is no table, or too large.
    """
    if is_row_file(path):
        header, rows = read_row_file(path)
        digest = hashlib.sha256(read_bytes(path, BYTES)).hexdigest()
        return Sheet(path, header, rows, ",", 1, digest)
    data = _bytes(path)
    encoding = _encoding(path, data)
    first = next(iter(_lines(data, encoding)), "")
    told = re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.IGNORECASE)
    skipped = int(told is not None)
    delimiter = told[1] if told is not None else _delimiter(data, encoding, names)
    header_line, header, rows = _table(path, _lines(data, encoding), skipped, delimiter)
    return Sheet(path, header, rows, delimiter, header_line, hashlib.sha256(data).hexdigest())


def _bytes(path: Path) -> bytes:
    data = read_bytes(path, BYTES + 1)
    known = foreign(data[:HEAD])
    if known is not None:
        what, cure = known
        raise UserError(f"is {what}, not a table", cure=cure, where=str(path))
    if len(data) > BYTES:
        raise UserError(
            f"is larger than {BYTES // 2**20} MiB",
            cure="import the columns and rows that you need",
            where=str(path),
        )
    return data


def _encoding(path: Path, data: bytes) -> str:
    """Excel writes UTF-16 as `Unicode text`, and `CSV` in the code page of the machine."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return _checked(path, data, name)
    if b"\0" in data:
        raise _not_text(path, data, data.index(b"\0"), "a NUL byte")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # Text in UTF-8 with a damaged character would come out wrong in every other one.
        if not data.decode("utf-8", "ignore").isascii():
            raise _not_text(path, data, error.start, "a byte that is not UTF-8") from error
        control = re.search(rb"[\x00-\x08\x0e-\x1f]", data)
        if control is not None:
            raise _not_text(path, data, control.start(), "a control character") from error
        return _checked(path, data, "cp1252")
    return "utf-8"


def _checked(path: Path, data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_text(path, data, error.start, f"a byte that is not {encoding}") from error
    if "\0" in text:
        raise _not_text(path, data, 0, "a NUL character")
    return encoding


def _not_text(path: Path, data: bytes, at: int, what: str) -> UserError:
    line = data.count(b"\n", 0, at) + 1
    return UserError(
        f"is not text: there is {what}", cure="save it as CSV in UTF-8", where=f"{path}:{line}"
    )


def _lines(data: bytes, encoding: str) -> Iterator[str]:
    return iter(TextIOWrapper(BytesIO(data), encoding=encoding, newline=""))


def _delimiter(data: bytes, encoding: str, names: Collection[str]) -> str:
    """The delimiter that gives the most of these columns, the rows as many cells as the header,
    and the most columns.
    """

    def merit(delimiter: str) -> tuple[int, bool, int]:
        reader = csv.reader(_lines(data, encoding), delimiter=delimiter)
        filled = (cells for cells in reader if any(cell.strip(_BLANK) for cell in cells))
        try:
            rows = list(islice(filled, SAMPLE))
        except csv.Error:
            rows = []
        columns = len(rows[0]) if rows else 0
        header = {_name(cell) for cell in rows[0]} if rows else set[str]()
        even = columns > 1 and len({len(cells) for cells in rows}) == 1
        return len(header.intersection(names)), even, columns

    return max(DELIMITERS, key=merit)


def _table(
    path: Path, lines: Iterator[str], skipped: int, delimiter: str
) -> tuple[int, list[str], list[Row]]:
    """The line of the header, the header, and the rows below it."""
    for _ in range(skipped):
        next(lines)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header, header_line, rows, count, begins = list[str](), 0, list[Row](), 0, 1
    try:
        for raw in reader:
            line = reader.line_num + skipped
            cells, begins = [cell.strip() for cell in raw], line + 1
            if not any(cells):
                continue
            count += len(cells)
            if not header:
                header, header_line = [_name(cell) for cell in cells], line
            else:
                rows.append((line, _fitted(path, len(rows) + 1, (line, cells), header)))
            _check_size(path, len(rows), len(header), count)
    except csv.Error as error:
        raise _not_csv(path, begins, str(error)) from error
    if not rows:
        raise UserError(
            "has no rows",
            cure="name a table with a line of column names and rows below it",
            where=str(path),
        )
    return header_line, header, rows


def _name(cell: str) -> str:
    return " ".join(cell.split())


def _fitted(path: Path, number: int, row: Row, header: list[str]) -> list[str]:
    """The cells, as many as there are columns; spreadsheets write empty ones behind, or none."""
    line, cells = row
    width = len(header)
    if any(cells[width:]) or any(header[len(cells) :]):
        raise UserError(
            f"row {number} has {len(cells)} cells, and there are {width} columns",
            cure="put cells that contain the delimiter in quotes",
            where=f"{path}:{line}",
        )
    return [*cells[:width], *[""] * (width - len(cells))]


def _check_size(path: Path, rows: int, columns: int, cells: int) -> None:
    for count, most, what in (
        (rows, ROWS, "rows"),
        (columns, COLUMNS, "columns"),
        (cells, CELLS, "cells"),
    ):
        if count > most:
            raise UserError(
                f"has more than {most:,} {what}",
                cure="import the columns and rows that you need",
                where=str(path),
            )


def _not_csv(path: Path, line: int, fault: str) -> UserError:
    where = f"{path}:{line}"
    if "field limit" in fault:
        what = f"has a cell of more than {CELL:,} characters"
        return UserError(what, cure="leave the column out, or close its quotes", where=where)
    if "unexpected end" in fault:
        cure = 'close the quotes that open there; inside them a quote is written as `""`'
        return UserError("is not CSV: the file ends within quotes", cure=cure, where=where)
    cure = 'put the whole cell in quotes, and write a quote inside it as `""`'
    return UserError(f"is not CSV: {fault}", cure=cure, where=where)
