"""The inline executor: one trial after the other in this process, for a debugger, for tests, and
where there is no Ray.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from scalelab.core.events import Event
from scalelab.plan.plan import PlannedTrial
from scalelab.run.executors.base import Desk, Job, attempt, check_device, check_folder

PATIENCE_S = 0.2
"""Between two questions at a desk that has nothing to run now."""


LOOK_S = 0.5
"""Between two looks at whether the running trial is overdue."""


class Overdue(BaseException):
    """A trial that was told to stop runs on, and is given up: it builds its data, say."""


class DeskFault(BaseException):
    """The desk itself failed, on a full disk perhaps: no worker may take that for a fault of its
    trial.
    """


@contextmanager
def ready(job: Job) -> Iterator[None]:
    """Raises UserError where this machine lacks the job's device or folder."""
    check_device(job.execution)
    check_folder(job.folder)
    yield


def execute(desk: Desk, job: Job) -> None:
    """Run what the desk hands out. `job.jobs` and `job.address` mean nothing here."""
    while not desk.finished:
        planned = desk.ask()
        if planned is None:
            time.sleep(PATIENCE_S)
            continue
        with suppress(Overdue), _watched(desk):
            _run(desk, job, planned)


@contextmanager
def _watched(desk: Desk) -> Iterator[None]:
    """Raises Overdue in the running trial once the desk says so. Outside the main thread a trial
    is waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    done, trial = threading.Event(), threading.get_ident()

    def watch() -> None:
        # Again and again: what is raised in a callback of C code, or where a library catches
        # everything, is lost.
        while not done.wait(LOOK_S):
            if desk.overdue:
                signal.pthread_kill(trial, signal.SIGALRM)

    def give_up(number: int, frame: FrameType | None) -> None:
        if not done.is_set():
            raise Overdue

    before = signal.signal(signal.SIGALRM, give_up)
    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGALRM, before)


def _run(desk: Desk, job: Job, planned: PlannedTrial) -> None:
    pruned = False

    def emit(event: Event) -> None:
        nonlocal pruned
        try:
            pruned = desk.tell(planned.digest, event) or pruned
        except Exception as error:
            raise DeskFault from error

    try:
        attempt(
            job,
            planned.trial,
            planned.digest,
            emit,
            stopping=lambda: desk.stopping,
            pruned=lambda: pruned,
            layers_sha256=planned.layers_sha256,
        )
    except DeskFault as fault:
        assert fault.__cause__ is not None
        raise fault.__cause__ from None
