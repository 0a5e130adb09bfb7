"""A process that is killed at its Nth operation: a fork that sends itself SIGKILL, so that nothing
of it tidies up.
"""

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Countdown:
    """Kills this process at the Nth tick."""

    def __init__(self, ticks: int) -> None:
        self._left = ticks

    def __call__(self, *arguments: Any, **options: Any) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def was_killed(work: Callable[[Countdown], None], ticks: int) -> bool:
    """Run the work in a fork, which is killed at that tick; False where it ended before."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks in processes with threads; these take no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work(Countdown(ticks))
            code = 0
        finally:
            os._exit(code)
    status = _ended(child)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


def _ended(child: int) -> int:
    """The status of a child, for which nobody waits longer than a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("it hangs")


@contextmanager
def ticking(tick: Callable[..., None], place: Any, *names: str) -> Iterator[None]:
    """Every call of these functions of a module or class ticks before it begins."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            original = getattr(place, name)

            def call(*arguments: Any, original: Any = original, **options: Any) -> Any:
                tick()
                return original(*arguments, **options)

            patch.setattr(place, name, call)
        yield
