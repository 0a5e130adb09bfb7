"""What watches over a run while its driver is busy: the heartbeat of its claims, and signals."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from scalelab.core.signals import Signalled, handled
from scalelab.run.desk import LEASE_S
from scalelab.store.patience import Away

HEARTBEAT_S = LEASE_S / 4
"""How often claims are renewed: a beat may come late, and even twice."""

AGAIN_S = 0.5
"""How soon a beat is tried again that found the database away."""


@contextmanager
def heartbeat(beat: Callable[[], None], every_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Beats in a thread of its own, at once and from then on: the driver's may be busy training."""
    done = threading.Event()

    def run() -> None:
        pause_s = 0.0
        while not done.wait(pause_s):
            pause_s = every_s
            # The driver's own next write meets the same fault, and reports it.
            with suppress(Exception):
                try:
                    beat()
                except Away:
                    pause_s = min(every_s, AGAIN_S)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def interrupts(stop: Callable[[int], None]) -> Iterator[None]:
    """The first signal stops in good order, a second one at once: it raises Signalled.

    Outside the main thread nothing changes.
    """
    stopped = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise Signalled(number)
        stopped = True
        stop(number)

    with handled(handle):
        yield
