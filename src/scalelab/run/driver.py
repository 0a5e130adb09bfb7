"""The driver: runs what is missing of a plan, and writes everything down.

It is the store's one writer in this process. What is finished costs nothing, so the same command goes on where the last one
ended, however that ended. The first Ctrl-C lets running trials save their position, the second one doesn't wait for them.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal, TextIO

from scalelab.core.canon import SHORT
from scalelab.core.provenance import environment
from scalelab.core.units import format_seconds
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.run.desk import LEASE_S, StopReason, StoreDesk
from scalelab.run.executors.base import Executor, Job, Worker, train_trial
from scalelab.run.live import open_live
from scalelab.run.search import build_search, tell_known
from scalelab.spec.execution import Execution
from scalelab.store.claims import new_owner
from scalelab.store.records import TrialRecord
from scalelab.store.store import Store

ExecutorName = Literal["ray", "inline"]

HEARTBEAT_S = LEASE_S / 4
"""How often claims are renewed: a beat may come late, and even twice."""


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    outcomes: Mapping[str, int]
    """How many trials ended as what, of those that were run here."""
    known: int
    """Trials of the plan that had their result before."""
    failed: Mapping[str, str]
    """Digest -> error of the trials that failed in this run, after every retry."""
    seconds: float
    stopped: StopReason | None = None
    """Why the run ended before its search did."""
    failed_before: int = 0
    """Trials that failed in an earlier run and were left alone."""

    @property
    def exit_code(self) -> int:
        """130: run again to go on; 1: some trial failed; 0: all done."""
        return 130 if self.stopped else int(bool(self.failed or self.failed_before))

    def __str__(self) -> str:
        """Some lines for the user."""
        ran = ", ".join(f"{count} {state}" for state, count in sorted(self.outcomes.items())) or (
            "nothing ended" if self.stopped else "nothing to run"
        )
        lines = [f"{ran} in {format_seconds(self.seconds)}; {self.known} trials had their result before"]
        for digest, error in self.failed.items():
            lines.append(f"failed: {digest[:SHORT]} {''.join(error.strip().splitlines()[-1:])} (see `scalelab show {digest[:SHORT]}`)")
        if self.failed_before:
            lines.append(f"{self.failed_before} trials failed in an earlier run; try them again with --retry-failed")
        if self.stopped:
            lines.append(
                f"{self.stopped}: what was finished is kept, what was running saved its position, and the same command goes on from here"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Options:
    """How a plan is run."""

    executor: ExecutorName = "ray"
    jobs: int | None = None
    """Trials at once; None is as many as there is room for."""
    address: str | None = None
    """Of a Ray cluster; None is this machine."""
    folder: str | Path | None = None
    """Path or URL for checkpoints and models; every trial has a folder of its own there."""
    time_s: float | None = None
    """Seconds after which the run stops as if it were interrupted."""
    retry_failed: bool = False
    """Try again what failed in an earlier run."""
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    """Where the run shows itself."""


def drive(plan: Plan, store: Store, options: Options | None = None, *, chosen: Plan | None = None, worker: Worker = train_trial) -> Summary:
    """Run what is missing of a plan, or of the part of it that was `chosen`; the whole plan is written down.

    Raises UserError where the executor or the store can't do it, and then nothing is written.
    """
    options, chosen, began = options or Options(), chosen or plan, time.monotonic()
    results = store.results([planned.digest for planned in chosen.trials])
    search = build_search(chosen)
    known = tell_known(search, chosen, results, retry_failed=options.retry_failed)
    failed_before = 0 if options.retry_failed else sum(result.state == "failed" for result in results.values())
    if search.finished:
        register(plan, store)
        return Summary({}, known, {}, time.monotonic() - began, failed_before=failed_before)
    owner = new_owner()
    with ExitStack() as stack:
        live = stack.enter_context(open_live(options.stream, lambda: search.progress))
        desk = StoreDesk(
            search,
            store,
            owner,
            environment(),
            retries=plan.experiment.execution.retries,
            retry_failed=options.retry_failed,
            deadline=None if options.time_s is None else began + options.time_s,
            live=live,
        )
        stack.callback(store.release, owner)
        stack.enter_context(heartbeat(lambda: store.renew(owner, LEASE_S)))
        stack.enter_context(interrupts(lambda: desk.stop("interrupted")))
        executor, job = _executor(options.executor), _job(plan, options, worker)
        stack.enter_context(executor.ready(job))
        register(plan, store)
        executor.execute(desk, job)
    seconds = time.monotonic() - began
    return Summary(dict(desk.outcomes), known, dict(desk.errors), seconds, None if search.finished else desk.stopped, failed_before)


def ready(plan: Plan, options: Options) -> AbstractContextManager[None]:
    """What a run of the plan needs of its executor, held until it ends; `drive` inside uses it.

    For a caller that has no store yet: raises UserError where no trial could run, before a store is made.
    """
    return _executor(options.executor).ready(_job(plan, options, train_trial))


def _job(plan: Plan, options: Options, worker: Worker) -> Job:
    folder = None if options.folder is None else str(options.folder)
    return Job(_located(plan.experiment.execution), folder, worker, options.jobs, options.address)


def _located(execution: Execution) -> Execution:
    """The execution with its data folder as an absolute path: a worker runs in a folder of its own."""
    return execution if "://" in execution.data else execution.model_copy(update={"data": str(Path(execution.data).resolve())})


def _executor(name: ExecutorName) -> Executor:
    if name == "inline":
        from scalelab.run.executors import inline

        return inline
    from scalelab.run.executors import ray

    return ray


def register(plan: Plan, store: Store) -> None:
    """Write the plan down."""
    store.register(plan.experiment.name, plan.experiment.model_dump(mode="json"), [record(planned) for planned in plan.trials])


def record(planned: PlannedTrial) -> TrialRecord:
    """A planned trial as the store keeps it."""
    return TrialRecord(
        digest=planned.digest,
        identity=planned.trial.identity(),
        trial=planned.trial.model_dump(mode="json"),
        axes=planned.axes,
        replicate=planned.replicate,
        seed=planned.trial.seed,
        params=planned.params.as_dict(),
        steps=planned.steps,
        tokens=planned.tokens,
        exposures=planned.exposures,
        flops=planned.flops,
    )


@contextmanager
def heartbeat(beat: Callable[[], None], every_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Beats in a thread of its own: the driver's may be busy training."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every_s):
            with suppress(Exception):  # The driver's own next write meets the same fault, and reports it.
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
    """The first Ctrl-C stops in good order, the second one raises KeyboardInterrupt. Outside the main thread nothing changes."""
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
