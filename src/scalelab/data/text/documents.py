"""Documents of local files: text, JSON and Parquet, read piece by piece so that memory does not
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

from scalelab.core.errors import UserError, nearest, reason
from scalelab.core.text import beginning
from scalelab.data.text.kinds import kind_of

PIECE = 1 << 19
"""Most characters of a piece."""

_CHUNK = 1 << 16
_LINE = 1 << 12
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
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
    readers = {"parquet": _parquet, "lines": _lines, "list": _list}
    try:
        kind = kind_of(path, field)
        if kind != "text":
            yield from readers[kind](path, field, number, start, tell)
        elif number >= start:
            yield from pieces(number, _plain(path, tell))
        else:
            yield Piece(number, "", True)
    except OSError as error:
        raise UserError(
            f"can't be read ({reason(error)})", cure="check the file", where=str(path)
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
                    "this is a binary file, or text in UTF-16",
                    cure="name a text, JSON or Parquet file in UTF-8",
                    where=f"{path}:{line}",
                )
            line += text.count("\n")
            tell(file.tell() / size)
            yield text
            if not chunk:
                return


def _lines(path: Path, field: str, number: int, start: int, tell: Tell) -> Iterator[Piece]:
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
    except (ValueError, RecursionError):
        raise UserError(
            "this line is no JSON", cure="write one JSON object on each line", where=where
        ) from None
    if not isinstance(row, dict):
        raise UserError(
            "this line is no JSON object", cure="write one JSON object on each line", where=where
        )
    return field_of(row, field, where)


def _list(path: Path, field: str, number: int, start: int, tell: Tell) -> Iterator[Piece]:
    """The rows of a list in JSON."""
    for row, where in _elements(path, tell):
        if not isinstance(row, dict):
            raise UserError(
                f"a row of the list is {beginning(json.dumps(row))}, and no JSON object",
                cure=f'write rows like {{"{field}": "..."}}',
                where=where,
            )
        yield from pieces(number, [field_of(row, field, where) if number >= start else ""])
        number += 1


def _elements(path: Path, tell: Tell) -> Iterator[tuple[Any, str]]:
    """The elements of a list in JSON, each with its place (file and line).

    They are decoded one by one: memory grows with the longest alone.
    """
    unread = _Unread(path, tell)
    sign = unread.next()
    while sign != "]":
        unread.take(sign)  # the bracket before the first element, or a comma
        if unread.next() == "]" and sign == "[":
            break
        where = unread.place
        yield unread.value(), where
        sign = unread.next()
        if sign not in (",", "]"):
            raise unread.fault("the list is cut short" if not sign else "a comma is missing")
    unread.take("]")
    if unread.next():
        raise unread.fault("something follows the list")


class _Unread:
    """What is not decoded yet of a file of JSON."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self._path, self._chunks = path, _plain(path, tell)
        self._text, self._at, self._line = "", 0, 1

    @property
    def place(self) -> str:
        """The file, and the line that is read next."""
        return f"{self._path}:{self._line}"

    def fault(self, what: str) -> UserError:
        """The error of what is read next."""
        return UserError(what, cure="mend the file", where=self.place)

    def next(self) -> str:
        """The next character that is no space, which is not taken; none at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None, "no space is a match too"
            self.take(space[0])
            if self._at < len(self._text) or not self._read(1):
                return self._text[self._at : self._at + 1]

    def take(self, text: str) -> None:
        """Pass what is next."""
        self._at += len(text)
        self._line += text.count("\n")

    def value(self) -> Any:
        """The next value."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise self.fault("this row is too deep") from None
            except json.JSONDecodeError as error:
                # As much again is read where the value may go on: long ones are not read too often.
                if not _may_go_on(error) or not self._read(len(self._text) - self._at):
                    raise self.fault(f"this is no JSON ({error.msg})") from None
            else:
                self.take(self._text[self._at : end])
                return found

    def _read(self, characters: int) -> bool:
        """Read at least so many characters more; False at the end of the file."""
        parts, wanted = [self._text[self._at :]], characters
        while wanted > 0 and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            wanted -= len(chunk)
        self._text, self._at = "".join(parts), 0
        return wanted < characters


def _may_go_on(error: json.JSONDecodeError) -> bool:
    """Whether the text may only end too early; a word or an escape is at most so long."""
    return error.msg.startswith("Unterminated string") or error.pos > len(error.doc) - 16


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
