"""What watches over a run while its driver is busy: the heartbeat of its claims, and Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from scalelab.run.desk import LEASE_S

HEARTBEAT_S = LEASE_S / 4
"""How often claims are renewed: a beat may come late, and even twice."""


@contextmanager
def heartbeat(beat: Callable[[], None], every_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Beats in a thread of its own: the driver's may be busy training."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every_s):
            with suppress(
                Exception
            ):  # The driver's own next write meets the same fault, and reports it.
                beat()

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C stops in good order, the second one raises KeyboardInterrupt.

    Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
