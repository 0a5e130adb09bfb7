"""Folders that a process needs while it runs, and that are gone afterwards, however it ended, with
all processes that write into them (Ray's, whose logs lie there).

A process that is killed cannot tidy up. Each folder therefore has a lock, which the system drops
with the process, and whoever makes the next folder removes those whose lock is free.
"""

import fcntl
import os
import shutil
import signal
import stat
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
    sweep(prefix, Path(place))
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with (folder / f"{_LOCK}.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only now has it the name that others look for.
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)
            yield folder
    finally:
        _remove(folder)


def sweep(prefix: str, place: Path) -> None:
    """Remove the folders in `place` that killed processes of this user left; others stay."""
    for path in place.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):
            if path.stat().st_uid != os.getuid() or path.is_symlink():
                continue
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path.parent)


def _remove(folder: Path) -> None:
    """Remove a folder, and end the other processes of this user that hold a file of it open for
    writing, as far as the system tells (`/proc`). Who only reads there stays.
    """
    for process in Path("/proc").glob("[0-9]*"):
        number = int(process.name)
        with suppress(OSError):  # it ended meanwhile, or is not ours
            if number == os.getpid() or process.stat().st_uid != os.getuid():
                continue
            if any(_is_written(file, folder.resolve()) for file in (process / "fd").iterdir()):
                os.kill(number, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _is_written(file: Path, folder: Path) -> bool:
    """Whether an entry of `/proc/.../fd` is a file in the folder, open for writing."""
    with suppress(OSError):  # closed meanwhile
        return file.readlink().is_relative_to(folder) and bool(file.lstat().st_mode & stat.S_IWUSR)
    return False
