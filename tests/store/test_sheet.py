"""Files as tables of text."""

import gzip
import io
import json
import sqlite3
import struct
import zipfile
from pathlib import Path

import pytest

from scalelab.core.errors import UserError
from scalelab.store import sheet
from scalelab.store.sheet import read_sheet

ROWS = [["8", "2.5", "fine"], ["16", "2.25", "so, so"]]


def read(folder: Path, data: bytes | str, names: tuple[str, ...] = ()) -> sheet.Sheet:
    path = folder / "t.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_sheet(path, names)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ('n,loss,note\n8,2.5,fine\n16,2.25,"so, so"\n', ","),
        ("n;loss;note\n8;2.5;fine\n16;2.25;so, so\n", ";"),
        ("n\tloss\tnote\r\n8\t2.5\tfine\r\n16\t2.25\tso, so\r\n", "\t"),
        ("n|loss|note\r8|2.5|fine\r16|2.25|so, so\r", "|"),
        ("sep=;\r\nn;loss;note\r\n8;2.5;fine\r\n16;2.25;so, so\r\n", ";"),
        ('"sep=,"\nn,loss,note\n8,2.5,fine\n16,2.25,"so, so"\n', ","),
        ('\n,,,\nn,loss,note,,\n8,2.5,fine,,\n,,,,\n16,2.25,"so, so"\n,,\n\n', ","),
    ],
)
def test_delimiters_and_what_lies_around_a_table(tmp_path: Path, text: str, delimiter: str) -> None:
    found = read(tmp_path, text)
    assert [name for name in found.header if name] == ["n", "loss", "note"]
    assert [cells[:3] for _, cells in found.rows] == ROWS
    assert found.delimiter == delimiter


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, "größe;loss\n8;2,5\n".encode(encoding))
    assert (found.header, found.rows) == (["größe", "loss"], [(2, ["8", "2,5"])])


def test_columns_that_are_wanted_settle_the_delimiter(tmp_path: Path) -> None:
    text = "N;loss, val\n10;1,5\n20;1,25\n"
    assert read(tmp_path, text, ("N", "loss, val")).header == ["N", "loss, val"]
    assert read(tmp_path, text, ("N;loss", "val")).header == ["N;loss", "val"]


def test_cells_may_hold_quotes_and_lines(tmp_path: Path) -> None:
    found = read(tmp_path, 'n,"a\nheader",loss\n8,"say ""hi""\nand more",2.5\n9,x,2\n')
    assert found.header == ["n", "a header", "loss"]
    assert found.rows == [(4, ["8", 'say "hi"\nand more', "2.5"]), (5, ["9", "x", "2"])]


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            text = "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else ""
            file.writestr(name, text)
    return data.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "a.db") as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    connection.close()
    return (folder / "a.db").read_bytes()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (archive("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
        (archive("mimetype"), "a LibreOffice document"),
        (archive("data.pkl"), "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (gzip.compress(b"n,loss\n1,2\n", mtime=0), "compressed with gzip"),
        (struct.pack("<QI", 24, 7) + b"\x09\x00\x00\x00\x1a\x0dbrain.Event:2", "TensorBoard"),
        (json.dumps([{"n": 1}], indent=1).encode(), "JSON"),
        (b'{"n": [1]}\n', "JSON"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x80\x04\x95", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_is_no_table_is_named_for_what_it_is(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(UserError, match=f"t.csv: is .*{what}") as error:
        read(tmp_path, data)
    assert error.value.cure


def test_a_database_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an SQLite database"):
        read(tmp_path, database(tmp_path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "has no rows"),
        (b"\xff\xfe", "has no rows"),
        (b"n,loss\n", "has no rows"),
        (b",,\n,,\n", "has no rows"),
        (b"n,loss\n1,2\n3,\x00\n", "t.csv:3: is not text"),
        (b"n,loss\n1,\x01\x02\xff\n", "t.csv:2: is not text"),
        ("größe,loss\n1,2\n".encode() + b"\xff,3\n", "t.csv:3: is not text"),
        ("n,loss\n1,2\n".encode("utf-16")[:-1], "is not text"),
        (b"n,loss\n1,2\n3,2,1\n", "t.csv:3: row 2 has 3 cells, and there are 2 columns"),
        (b"n,loss\n1,2\n3\n", "t.csv:3: row 2 has 1 cells"),
        (b'n,loss\n1,"2\n3,4\n', "t.csv:2: is not CSV: the file ends within quotes"),
        (b'n,loss\n1,"2"3\n', "t.csv:2: is not CSV"),
        (b"n,loss\n1," + b"x" * 2**20 + b"\n", "t.csv:2: has a cell of more than"),
        (b"x," * 20_000 + b"y\n" + b"1," * 20_000 + b"2\n", "more than 10,000 columns"),
    ],
)
def test_a_damaged_table_is_a_sentence_with_its_line(
    tmp_path: Path, data: bytes, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "limit", "says"),
    [
        ("ROWS", 1, "more than 1 rows"),
        ("CELLS", 5, "more than 5 cells"),
        ("BYTES", 10, "is larger than"),
    ],
)
def test_a_table_has_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, says: str
) -> None:
    monkeypatch.setattr(sheet, name, limit)
    with pytest.raises(UserError, match=says):
        read(tmp_path, "n,loss\n1,2\n3,4\n")
