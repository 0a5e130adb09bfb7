"""What a file is, by how it begins and by the end of its name: nothing is read as text that is not
meant so.
"""

import codecs
import json
import re
from pathlib import Path
from typing import Literal

from scalelab.core.errors import UserError
from scalelab.core.formats import Group, format_of

Kind = Literal["text", "lines", "list", "parquet"]
"""One document; a row of JSON on each line; a list of rows in JSON; rows of Parquet."""

HEAD = 1 << 16
"""Bytes of a file that tell its kind."""

_JSON = (".json", ".jsonl", ".ndjson")
_EXPORT = "export it as text, or as rows of JSONL or Parquet"
_CURES: dict[Group, str] = {
    "archive": "unpack it first",
    "data": _EXPORT,
    "database": _EXPORT,
    "document": _EXPORT,
    "events": "name text",
    "image": "name text",
    "pointer": "fetch the file with `git lfs pull`",
    "program": "name text",
    "workbook": _EXPORT,
}
_UTF: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

_FIRST_KEY = re.compile(r'\{\s*"(?:[^"\\\n]|\\.)*"\s*:')


def kind_of(path: Path, field: str) -> Kind:
    """How a file is read. `field` names the text of a row.

    Raises UserError for a file that is no text, or of a kind that is not read; OSError.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    suffix, where = path.suffix.lower(), str(path)
    if head.startswith(b"PAR1") or suffix == ".parquet":
        return "parquet"
    if (known := format_of(head)) is not None:
        raise UserError(f"this is {known.name}", cure=_CURES[known.group], where=where)
    for mark, encoding in _UTF:
        if head.startswith(mark):
            cure = "convert it to UTF-8, as `iconv -t UTF-8` does"
            raise UserError(f"this is text in {encoding}", cure=cure, where=where)
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").lstrip()
    if suffix in _JSON:
        if suffix == ".json" and text.startswith("{") and _is_spread(text):
            what = "this is one JSON object on many lines, and no list of rows"
            raise UserError(what, cure=_rows(field), where=where)
        return "list" if text.startswith("[") else "lines"
    if suffix in (".html", ".htm", ".xhtml") or re.match(r"<!doctype html|<html", text, re.I):
        raise UserError("this is an HTML page", cure="extract its text first", where=where)
    if suffix in (".csv", ".tsv") or _is_table(text, field):
        raise UserError("this is a table", cure=_rows(field), where=where)
    if suffix == ".xml" or text.startswith("<?xml"):
        raise UserError("this is XML", cure="extract its text first", where=where)
    if _is_json(text, is_cut=len(head) == HEAD):
        name = f"{path.stem}.json{'' if text.startswith('[') else 'l'}"
        cure = f"call it {name}, and name the field that holds the text with --field"
        raise UserError("this is JSON, and no plain text", cure=cure, where=where)
    return "text"


def _rows(field: str) -> str:
    return f'write one JSON object like {{"{field}": "..."}} on each line of a .jsonl file'


def _is_spread(text: str) -> bool:
    """Whether a JSON object goes on after its first line."""
    line, end, _ = text.partition("\n")
    if not end:
        return False
    try:
        return not isinstance(json.JSONDecoder().raw_decode(line)[0], dict)
    except (ValueError, RecursionError):
        return True


def _is_json(text: str, *, is_cut: bool) -> bool:
    """Whether text begins with an object of JSON, on lines of its own or in a list.

    Of an object that does not end in a text that `is_cut` the first key is enough.
    """
    row = re.sub(r"\[\s*(?=\{)", "", text, count=1) if text[:1] == "[" else text
    try:
        found, end = json.JSONDecoder().raw_decode(row)
    except (ValueError, RecursionError):
        return is_cut and _FIRST_KEY.match(row) is not None
    ending = r"\s*[,\]]" if row is not text else r"[ \t\r]*(\n|\Z)"
    return isinstance(found, dict) and re.match(ending, row[end:]) is not None


def _is_table(text: str, field: str) -> bool:
    """Whether the first line names columns, and the field among them."""
    line, end, _ = text.partition("\n")
    cells = [cell.strip('"') for cell in re.split(r"[,;\t]", line.rstrip("\r"))]
    return bool(end) and len(cells) > 1 and field in cells and all(map(str.isidentifier, cells))
