"""Who holds a claim: a driver's name in the store, and whether a driver of that name can still be alive.

A killed driver's claims bind until their lease ends. On the machine where it ran nobody has to wait for that: its process is gone.
"""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from scalelab.store.store import Store


def new_owner() -> str:
    """`machine/process/random`: a name for this driver that no other one has."""
    return f"{_machine()}/{os.getpid()}/{uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Whether the owner's process ran on this machine and runs no more. False where that can't be known."""
    machine, _, process = owner.rpartition("/")[0].rpartition("/")
    if machine != _machine() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)  # signal 0 only asks
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def free_from_the_dead(store: Store, running: Sequence[str]) -> None:
    """Give back what a killed driver on this machine held of the trials that seem to run."""
    for digest in running:
        attempts = store.trial(digest).attempts
        if attempts and attempts[-1].state == "running" and is_gone(attempts[-1].owner):
            store.release(attempts[-1].owner)


def _machine() -> str:
    """The host, and the container where there are several on it: a process number means something only within one."""
    name = platform.node()
    with suppress(OSError):
        name += f"#{Path('/proc/self/ns/pid').stat().st_ino}"
    return name
