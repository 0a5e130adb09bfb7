"""The signals that stop a command in good order: Ctrl-C, and what schedulers send.

Slurm, Kubernetes, `docker stop` and spot machines send SIGTERM, a terminal that closes SIGHUP, and
Slurm's `--signal` what it is told to, usually SIGUSR1.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that stop a command."""


class Signalled(BaseException):
    """A signal ends what this process does, at once.

    No KeyboardInterrupt: libraries handle that one in their own way.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def end(number: int, frame: FrameType | None) -> None:
    """A handler that raises Signalled."""
    raise Signalled(number)


def exit_code(number: int) -> int:
    """The exit code of a command that a signal stopped, as shells give it."""
    return 128 + number


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals that stop a command; what was ignored before (`nohup`) stays ignored.

    Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: handled
        for number in STOPPING
        if (handled := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def snapshot() -> Callable[[], None]:
    """How the signals are handled now; calling what is returned restores that.

    For libraries that install handlers of their own. Outside the main thread nothing changes.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}

    def restore() -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)

    return restore
