"""Files that are replaced as a whole or not at all."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"
"""How the name of a file ends that is not whole yet."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The place of a new file beside `path`, which takes its name at the end of the block; its
    folder is made.

    Where the block raises, as on a full disk, what stands at `path` is left as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)  # of a process that was killed: some writers would go on with it
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def remove_parts(path: Path) -> None:
    """Remove what killed processes left of the file, for whoever alone may write it now."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        part.unlink(missing_ok=True)
