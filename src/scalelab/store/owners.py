"""Names of drivers, which no two share."""

import os
import platform
from pathlib import Path
from uuid import uuid4


def new_owner() -> str:
    """A name for a driver in this process: machine / process namespace / process id / random."""
    return f"{_here()}/{os.getpid()}/{uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Whether the owner is known to be dead: a process of this machine (and container) that is no
    more.
    """
    place, _, process = owner.rpartition("/")[0].rpartition("/")
    if place != _here() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _here() -> str:
    # Two containers may share a host's name; process ids mean something only inside one process
    # namespace.
    namespace = Path("/proc/self/ns/pid")
    return f"{platform.node()}/{namespace.readlink().name if namespace.is_symlink() else '-'}"
