"""Folders that a process needs while it runs, and that are gone afterwards, however it ended.

A process that is killed cannot tidy up. Each folder therefore has a lock, which the system drops
with the process, and whoever makes the next folder removes those whose lock is free.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def scratch(prefix: str, place: str | None = None) -> Iterator[Path]:
    """A new folder in `place`, by default where the system keeps temporary files; its name begins
    with `prefix`.

    Raises OSError where it can't be made.
    """
    place = place or tempfile.gettempdir()
    _sweep(prefix, Path(place))
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with (folder / f"{_LOCK}.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only now has it the name that others look for.
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(prefix: str, place: Path) -> None:
    """Remove the folders that killed processes of this user left; those of others stay."""
    for path in place.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):
            if path.stat().st_uid != os.getuid() or path.is_symlink():
                continue
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
