"""A bundle that `export` wrote, read again: the store in it, as a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from scalelab.core.errors import UserError

STORE = "store.db"
"""The store in a bundle."""

SQLITE = b"SQLite format 3\0"
"""How every store that is a file begins."""

TABLES = {"trials.csv", "metrics.csv", "environments.json"}
"""What every bundle has, also those of earlier versions, which have no store."""


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a zip archive."""
    return head.startswith(b"PK\x03\x04")


@contextmanager
def unpacked(path: Path) -> Iterator[Path | None]:
    """The store of a bundle, as a file for as long as the context lasts; None where the archive is
    no bundle.

    Raises UserError for an archive that is damaged, and for a bundle that has tables alone.
    """
    with TemporaryDirectory(prefix="scalelab-") as folder:
        try:
            with ZipFile(path) as bundle:
                names = set(bundle.namelist())
                store = _unpack(bundle, folder) if STORE in names else None
        except UserError as error:
            raise error.at(str(path)) from error
        except Exception as error:  # zipfile has no end of errors for what is damaged
            is_full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)
            fault = (
                _no_room()
                if is_full
                else UserError("is a damaged zip archive", cure="copy or export it anew")
            )
            raise fault.at(str(path)) from error
        if store is None and names >= TABLES:
            raise UserError(
                "is a bundle of an older scalelab, which has tables alone",
                cure="export it anew, or import the store that it comes from",
                where=str(path),
            )
        yield store


def _unpack(bundle: ZipFile, folder: str) -> Path:
    """The store as a file, which is never larger than the archive says: zipfile stops there."""
    with bundle.open(STORE) as store:
        if store.read(len(SQLITE)) != SQLITE:
            raise UserError(f"is no bundle: its `{STORE}` is no store", cure="export it anew")
    if bundle.getinfo(STORE).file_size > disk_usage(folder).free:
        raise _no_room()
    return Path(bundle.extract(STORE, folder))


def _no_room() -> UserError:
    return UserError("there is no room to unpack it", cure="set TMPDIR to a folder with room")
