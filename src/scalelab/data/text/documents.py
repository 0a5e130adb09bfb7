"""Documents of local files: text, JSONL and Parquet, read piece by piece so that memory does not
grow with them.

A document comes in pieces that end with a line, or before a word: tokenizers do not join tokens
across such a place, so the pieces of a text encode to what the whole would.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scalelab.core.errors import UserError, nearest

PIECE = 1 << 19
"""Most characters of a piece."""

_CHUNK = 1 << 16
_LINE = 1 << 12
_LINE_END = re.compile(r"\n(?=\S)")


class Piece(NamedTuple):
    """Some text of a document; the last piece of a document says so."""

    document: int
    text: str
    last: bool


Tell = Callable[[float], None]
"""Is told how much of a file, from 0 to 1, was read."""


def read(path: Path, field: str, number: int, start: int, tell: Tell) -> Iterator[Piece]:
    """The documents of a file, counted from `number`; those before `start` are passed over.

    Raises UserError for what can't be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path, field, number, start, tell)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _jsonl(path, field, number, start, tell)
        elif number >= start:
            yield from pieces(number, _plain(path, tell))
        else:
            yield Piece(number, "", True)
    except OSError as error:
        raise UserError(
            f"can't be read ({error.strerror or error})", cure="check the file", where=str(path)
        ) from error


def pieces(document: int, texts: Iterable[str]) -> Iterator[Piece]:
    """A document in pieces; one without text is a single empty piece."""
    rest = ""
    for text in texts:
        rest, start = rest + text, 0
        while len(rest) - start > PIECE:
            end = _cut(rest, start, start + PIECE)
            yield Piece(document, rest[start:end], False)
            start = end
        rest = rest[start:]
    yield Piece(document, rest, True)


def _cut(text: str, start: int, most: int) -> int:
    """Where a piece may end: behind the last line, else in front of the last space, else anywhere.

    No other space may stand beside: tokenizers split a run of them by what follows.
    """
    for sign, taken in (("\n", 1), (" ", 0)):
        at = text.rfind(sign, start + 1, most)
        while at > 0:
            if not (text[at - 1].isspace() or text[at + 1].isspace()):
                return at + taken
            at = text.rfind(sign, start + 1, at)
    return most


def line_end(text: str, start: int) -> int:
    """The first place from `start` on where a piece may end, or `start` where lines are
    too long.
    """
    found = _LINE_END.search(text, max(0, start - 1), start + _LINE)
    return found.end() if found else start


def _plain(path: Path, tell: Tell) -> Iterator[str]:
    """A file of text, newlines as they are. Raises UserError with the line of what is no text."""
    decoder, line, size = (
        codecs.getincrementaldecoder("utf-8-sig")(),
        1,
        max(1, path.stat().st_size),
    )
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise UserError(
                    "this is no UTF-8 text",
                    cure="name a text file, or convert it",
                    where=f"{path}:{line}",
                ) from None
            if "\0" in text:
                line += text[: text.index("\0")].count("\n")
                raise UserError(
                    "this is a binary file",
                    cure="name a text, JSONL or Parquet file",
                    where=f"{path}:{line}",
                )
            line += text.count("\n")
            tell(file.tell() / size)
            yield text
            if not chunk:
                return


def _jsonl(path: Path, field: str, number: int, start: int, tell: Tell) -> Iterator[Piece]:
    size = max(1, path.stat().st_size)
    with path.open("rb") as file:
        for at, line in enumerate(file, start=1):
            if not line.strip():
                continue
            text = _text_of(line, field, f"{path}:{at}") if number >= start else ""
            yield from pieces(number, [text])
            number += 1
            tell(file.tell() / size)


def _text_of(line: bytes, field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        raise UserError(
            "this line is no JSON", cure="write one JSON object on each line", where=where
        ) from None
    if not isinstance(row, dict):
        raise UserError(
            "this line is no JSON object", cure="write one JSON object on each line", where=where
        )
    return field_of(row, field, where)


def field_of(row: dict[str, Any], field: str, where: str) -> str:
    """The text of a row. Raises UserError where it has none."""
    if field not in row:
        raise UserError(
            f"there is no field `{field}`",
            cure=f"name the field of the text with --field; {nearest(field, list(row))}",
            where=where,
        )
    text = row[field]
    if text is not None and not isinstance(text, str):
        raise UserError(
            f"the field `{field}` holds {type(text).__name__}, not text",
            cure="name the field of the text with --field",
            where=where,
        )
    return text or ""


def _parquet(path: Path, field: str, number: int, start: int, tell: Tell) -> Iterator[Piece]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        names = table.schema_arrow.names
        if field not in names:
            cure = f"name the column of the text with --field; {nearest(field, names)}"
            raise UserError(f"there is no column `{field}`", cure=cure, where=str(path))
        rows, seen = max(1, table.metadata.num_rows), 0
        for batch in table.iter_batches(batch_size=256, columns=[field]):
            texts = (
                batch.column(0).to_pylist() if number + len(batch) > start else [""] * len(batch)
            )
            for text in texts:
                yield from pieces(number, [field_of({field: text}, field, str(path))])
                number += 1
            seen += len(batch)
            tell(seen / rows)
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"this is no Parquet file that can be read ({first})",
            cure="copy or write it again",
            where=str(path),
        ) from None
