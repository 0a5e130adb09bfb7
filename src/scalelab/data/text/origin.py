"""The local files that a text comes from, and how they are known again: by content, wherever they
lie.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from scalelab.core.errors import UserError, reason
from scalelab.core.locations import expanded_path
from scalelab.data.spec import TALES, Corpus

SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".parquet")
"""Files that are read of a folder."""

OTHER_SUFFIXES = (
    *(".json", ".csv", ".tsv", ".html", ".htm", ".xml", ".pdf", ".arrow"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"),
)
"""Files that hold text too, and are left out of a folder: metadata, or not to be read."""

NAMES = ("shakespeare", "smollm", TALES, "wikitext103")

END = 1 << 20
"""Bytes at either end of a file that are looked at where there is no time for all of it."""


class File(BaseModel):
    """A local file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    ends: str
    """The sha256 of its first and last `END` bytes."""
    sha256: str
    """The sha256 of all of it."""


Origin = dict[str, File]
"""Files by their names: that of the only one, or the paths in their folder."""


def local(corpus: Corpus) -> Path | None:
    """The file or folder of a corpus that lies on this machine; None for others."""
    if corpus.source in NAMES:
        return None
    path = expanded_path(corpus.source)
    with readable(path):
        return path if path.exists() else None


def files(path: Path) -> dict[str, Path]:
    """A file, or those of a folder and what is in it, by name.

    Raises UserError where the folder has none, and for what is neither: a device has no end.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError(
                "is neither a file nor a folder", cure="name a file or a folder", where=str(path)
            )
        return {path.name: path}
    found = sorted(
        inner for inner in path.rglob("*") if inner.suffix.lower() in SUFFIXES and inner.is_file()
    )
    if not found:
        others = ", ".join(left_out(path))
        raise UserError(
            "no file of this folder is text" + (f", and {others} are not read" if others else ""),
            cure=f"put {', '.join(SUFFIXES)} files there, or name one file",
            where=str(path),
        )
    return {inner.relative_to(path).as_posix(): inner for inner in found}


def left_out(path: Path) -> list[str]:
    """Ends of names of files that may hold text and are left out of a folder."""
    found = path.rglob("*") if path.is_dir() else []
    ends = {inner.suffix.lower() for inner in found if inner.is_file()}
    return sorted(ends & set(OTHER_SUFFIXES))


def recorded(found: dict[str, Path]) -> Origin:
    """The files as they are now; each is read as a whole. Raises UserError where one can't be."""
    return {
        name: File(bytes=path.stat().st_size, ends=_ends(path), sha256=_whole(path))
        for name, path in found.items()
    }


def is_same(corpus: Corpus, before: Origin, *, whole: bool) -> bool:
    """Whether a corpus is of the files that were recorded, as far as they are on this machine.

    Files of equal size are read: all of them where `whole`, else their ends. Raises UserError where
    one can't be.
    """
    path = local(corpus)
    if path is None:
        return True
    now = files(path)
    if now.keys() != before.keys() or any(
        now[name].stat().st_size != file.bytes for name, file in before.items()
    ):
        return False
    if whole:
        return all(_whole(now[name]) == file.sha256 for name, file in before.items())
    return all(_ends(now[name]) == file.ends for name, file in before.items())


def _whole(path: Path) -> str:
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ends(path: Path) -> str:
    status = path.stat()
    with readable(path):
        return _hash_of_ends(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1 << 14)
def _hash_of_ends(path: Path, _changed: int, size: int) -> str:
    """Taken once for each version of a file: a plan asks for every trial."""
    with path.open("rb") as file:
        ends = hashlib.sha256(file.read(END))
        file.seek(max(0, size - END))
        ends.update(file.read(END))
        return ends.hexdigest()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, an OSError is the user's: the file can't be read."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"can't be read ({reason(error)})", cure="check the file", where=str(path)
        ) from error
