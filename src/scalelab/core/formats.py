"""Formats of files that are no plain text, known by their first bytes."""

from typing import Literal, NamedTuple

Group = Literal[
    "archive", "data", "database", "document", "events", "image", "pointer", "program", "workbook"
]


class Format(NamedTuple):
    """What a file is: `a PDF`, and the sort of formats that it belongs to."""

    name: str
    group: Group


HEAD = 4096
"""First bytes of a file that are enough."""

_FORMATS: list[tuple[int, bytes, Format]] = [
    (0, b"\x1f\x8b", Format("compressed with gzip", "archive")),
    (4, b"1AY&SY", Format("compressed with bzip2", "archive")),
    (0, b"\xfd7zXZ\0", Format("compressed with xz", "archive")),
    (0, b"\x28\xb5\x2f\xfd", Format("compressed with zstd", "archive")),
    (0, b"\x04\x22\x4d\x18", Format("compressed with LZ4", "archive")),
    (0, b"7z\xbc\xaf\x27\x1c", Format("a 7z archive", "archive")),
    (0, b"Rar!\x1a\x07", Format("a RAR archive", "archive")),
    (257, b"ustar", Format("a tar archive", "archive")),
    (0, b"%PDF", Format("a PDF", "document")),
    (0, b"{\\rtf", Format("an RTF document", "document")),
    (0, b"\xd0\xcf\x11\xe0", Format("an old office document, such as an .xls file", "workbook")),
    (0, b"SQLite format 3\0", Format("an SQLite database", "database")),
    (0, b"ARROW1", Format("an Arrow file", "data")),
    (0, b"\xff\xff\xff\xff", Format("an Arrow stream", "data")),
    (0, b"Obj\x01", Format("an Avro file", "data")),
    (0, b"\x89HDF", Format("an HDF5 file", "data")),
    (0, b"\x93NUMPY", Format("a NumPy array", "data")),
    *((0, bytes([0x80, protocol]), Format("a pickle", "data")) for protocol in range(2, 6)),
    (0, b"\x89PNG", Format("an image", "image")),
    (0, b"\xff\xd8\xff", Format("an image", "image")),
    (0, b"GIF8", Format("an image", "image")),
    (0, b"\x7fELF", Format("a program", "program")),
    (0, b"version https://git-lfs", Format("a Git LFS pointer", "pointer")),
]


def format_of(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes; None where no format is known, as of text.

    Parquet is not among them: it is read.
    """
    for at, signature, found in _FORMATS:
        if head.startswith(signature, at):
            return found
    if b"brain.Event:" in head[:64]:
        return Format("a TensorBoard event file", "events")
    return _zipped(head) if head.startswith(b"PK\x03\x04") else None


def _zipped(head: bytes) -> Format:
    if b"opendocument" in head:
        return Format("a LibreOffice document", "workbook")
    if b"xl/" in head:
        return Format("an Excel workbook", "workbook")
    if b"[Content_Types].xml" in head or b"docProps/" in head:
        return Format("an office document", "workbook")
    return Format("a zip archive", "archive")
