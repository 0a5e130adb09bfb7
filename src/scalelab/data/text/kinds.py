"""What a file is, by how it begins and by the end of its name: nothing is read as text that is not
meant so.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from scalelab.core.errors import UserError

Kind = Literal["text", "lines", "list", "parquet"]
"""One document; a row of JSON on each line; a list of rows in JSON; rows of Parquet."""

HEAD = 1 << 16
"""Bytes of a file that tell its kind."""

_JSON = (".json", ".jsonl", ".ndjson")
_UNPACK = "unpack it first"
_EXPORT = "export it as text, or as rows of JSONL or Parquet"
_CONVERT = "convert it to UTF-8, as `iconv -t UTF-8` does"
_SIGNATURES: list[tuple[int, bytes, str, str]] = [
    (0, b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (4, b"1AY&SY", "compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "compressed by LZ4", _UNPACK),
    (0, b"PK\x03\x04", "a ZIP archive or an office document", "unpack it, or export its text"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"%PDF-", "a PDF document", _EXPORT),
    (0, b"{\\rtf", "an RTF document", _EXPORT),
    (0, b"\xd0\xcf\x11\xe0", "an office document", _EXPORT),
    (0, b"SQLite format 3\0", "an SQLite database", _EXPORT),
    (0, b"ARROW1", "an Arrow file", _EXPORT),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", _EXPORT),
    (0, b"Obj\x01", "an Avro file", _EXPORT),
    (0, b"\x89HDF", "an HDF5 file", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", _EXPORT),
    (0, b"\x89PNG", "an image", "name text"),
    (0, b"\xff\xd8\xff", "an image", "name text"),
    (0, b"GIF8", "an image", "name text"),
    (0, b"\x7fELF", "a program", "name text"),
    (0, b"\xff\xfe\0\0", "text in UTF-32", _CONVERT),
    (0, b"\0\0\xfe\xff", "text in UTF-32", _CONVERT),
    (0, b"\xff\xfe", "text in UTF-16", _CONVERT),
    (0, b"\xfe\xff", "text in UTF-16", _CONVERT),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the file with `git lfs pull`"),
]
"""(where, bytes, what a file is that has them there, cure)."""

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
    for at, signature, what, cure in _SIGNATURES:
        if head.startswith(signature, at):
            raise UserError(f"this is {what}", cure=cure, where=where)
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
    return bool(end) and not isinstance(_decoded(line), dict)


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


def _decoded(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _is_table(text: str, field: str) -> bool:
    """Whether the first line names columns, and the field among them."""
    line, end, _ = text.partition("\n")
    cells = [cell.strip('"') for cell in re.split(r"[,;\t]", line.rstrip("\r"))]
    return bool(end) and len(cells) > 1 and field in cells and all(map(str.isidentifier, cells))
