"""A bundle that `export` wrote, read again: the store in it, as a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from scalelab.core.errors import UserError

STORE = "store.db"
"""The store in a bundle."""

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
                store = Path(bundle.extract(STORE, folder)) if STORE in names else None
        except Exception as error:  # zipfile has no end of errors for what is damaged
            is_full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)
            raise UserError(
                "there is no room to unpack it" if is_full else "is a damaged zip archive",
                cure="set TMPDIR to a folder with room" if is_full else "copy or export it anew",
                where=str(path),
            ) from error
        if store is None and names >= TABLES:
            raise UserError(
                "is a bundle of an older scalelab, which has tables alone",
                cure="export it anew, or import the store that it comes from",
                where=str(path),
            )
        yield store
