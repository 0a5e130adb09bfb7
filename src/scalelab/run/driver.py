"""The driver: runs what is missing of a plan, or what a search over a space asks for, and writes
everything down.

It is the store's one writer in this process. What is finished costs nothing, so the same command
goes on where the last one ended, however that ended. The first signal (Ctrl-C, SIGTERM, ...) lets
running trials save their position, the second one doesn't wait for them.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from scalelab.core.events import FINISHED
from scalelab.core.locations import is_url
from scalelab.core.provenance import environment
from scalelab.plan.diff import resumed_search
from scalelab.plan.plan import Plan
from scalelab.run.desk import StoreDesk
from scalelab.run.executors.base import Executor, Job, Worker, train_trial
from scalelab.run.executors.ray import sweep_places
from scalelab.run.guards import HEARTBEAT_S, heartbeat, interrupts
from scalelab.run.live import Standing, open_live
from scalelab.run.registering import register
from scalelab.run.rescue import WriteDown, rescued
from scalelab.run.summary import Summary
from scalelab.search import Searcher, SpaceSearcher
from scalelab.spec.execution import Execution
from scalelab.store import open_store, store_exists
from scalelab.store.owners import new_owner
from scalelab.store.patience import Away, Lost, Patience
from scalelab.store.store import Store

ExecutorName = Literal["ray", "inline"]


@dataclass(frozen=True)
class Options:
    """How a plan is run, or a search."""

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
    began: float = field(default_factory=time.monotonic, init=False)
    """From when on the time counts: a run that begins anew has what is left of it."""

    @property
    def deadline(self) -> float | None:
        """When the run stops, on the monotonic clock."""
        return None if self.time_s is None else self.began + self.time_s


def drive(
    plan: Plan,
    store: Store,
    options: Options | None = None,
    *,
    chosen: Plan | None = None,
    worker: Worker = train_trial,
) -> Summary:
    """Run what is missing of a plan, or of the part of it that was `chosen`; the whole plan is
    written down.

    Raises UserError where the executor or the store can't do it, and then nothing is written.
    """
    options, chosen = options or Options(), chosen or plan
    results = store.results([planned.digest for planned in chosen.trials])
    search = resumed_search(chosen, results, retry_failed=options.retry_failed)
    known = sum(result.as_planned in FINISHED for result in results.values())
    failed_before = (
        0 if options.retry_failed else sum(result.state == "failed" for result in results.values())
    )
    job = _job(plan.experiment.execution, options, worker)
    ended = _pursue(search, store, options, job, write_down=partial(register, plan))
    return replace(ended, known=known, failed_before=failed_before)


def drive_search(
    search: SpaceSearcher,
    store: Store,
    options: Options | None = None,
    *,
    experiment: str,
    spec: Mapping[str, Any],
    execution: Execution,
    leaving: Sequence[str] = (),
    file: str | Path | None = None,
    worker: Worker = train_trial,
) -> Summary:
    """Run a search over a space: each trial that it asks for becomes the next member of the
    experiment. `spec` is the space as JSON, and `file` where it lies.

    What the experiment has already the search knows (`scalelab.store.history`); of these members
    its `own` alone count. An experiment is what its spec says now: members that are `leaving` (of
    another base, out of another range) stay in the store alone. Raises UserError as `drive` does.
    """
    options = options or Options()
    own = set(search.own)
    members = store.members(experiment) if store.has(experiment) else []
    results = [one.result for one in members if one.record.digest in own]
    standing = Standing(spec["objectives"])
    for result in results:
        standing.note(result.state, result.metrics)
    job = replace(_job(execution, options, worker), prunes=True)

    def write_down(store: Store) -> None:
        store.open_experiment(experiment, dict(spec), leaving, file)

    ended = _pursue(
        search, store, options, job, write_down=write_down, experiment=experiment, standing=standing
    )
    return replace(
        ended,
        known=sum(result.state in FINISHED for result in results),
        guided=True,
        exhausted=search.exhausted,
    )


def _pursue(
    search: Searcher,
    store: Store,
    options: Options,
    job: Job,
    *,
    write_down: WriteDown,
    experiment: str | None = None,
    standing: Standing | None = None,
) -> Summary:
    """Run what the search asks for, until it is finished or somebody says stop.

    With an `experiment` each trial is enlisted there.
    """
    began = time.monotonic()
    if search.finished:
        write_down(store)
        return Summary({}, 0, {}, time.monotonic() - began)
    owner, deadline = new_owner(), options.deadline
    here = environment()
    with ExitStack() as stack:
        live = stack.enter_context(
            open_live(options.stream, lambda: search.progress, standing, deadline, search.share_of)
        )
        desk = StoreDesk(
            search,
            store,
            owner,
            here,
            retries=job.execution.retries,
            retry_failed=options.retry_failed,
            deadline=deadline,
            live=live,
            experiment=experiment,
        )
        stack.callback(desk.diary.close)
        patience = Patience(
            job.execution.patience, live.say, hurried=lambda: desk.overdue or desk.fault is not None
        )
        stack.enter_context(store.database.watched(patience))
        stack.callback(desk.leave)
        stack.enter_context(heartbeat(desk.beat, HEARTBEAT_S))
        stack.enter_context(interrupts(lambda number: desk.stop("interrupted", number)))
        sweep_places()
        executor = _executor(options.executor)
        stack.enter_context(executor.ready(job))
        try:
            write_down(store)
            executor.execute(desk, job)
            desk.conclude()
        except (Away, Lost) as fault:
            stack.callback(store.abandon)
            raise rescued(
                fault,
                store.database,
                desk.diary,
                write_down,
                experiment=experiment,
                environment=here,
                owner=owner,
            ) from fault
    stopped, seconds = None if search.finished else desk.stopped, time.monotonic() - began
    return Summary(
        dict(desk.outcomes),
        0,
        dict(desk.errors),
        seconds,
        stopped,
        signal=desk.signal,
        pruned=desk.pruned,
    )


def default_folder(where: str) -> str:
    """Where trials keep checkpoints and models: beside a store that is a file, else in results/."""
    return "results/trials" if is_url(where) else str(Path(where).parent.resolve() / "trials")


@contextmanager
def open_for_run(where: str, execution: Execution, options: Options) -> Iterator[Store]:
    """The store of a run, to write; a run that is refused makes none.

    Raises UserError if no trial could run, and if there can be no store.
    """
    with ExitStack() as stack:
        if not store_exists(where):
            stack.enter_context(ready(execution, options))
        patience = start_patience(execution, options)
        yield stack.enter_context(open_store(where, mode="write", patience=patience))


def start_patience(execution: Execution, options: Options) -> Patience:
    """For a caller that opens the store of a run: it is waited for then, too, but no longer than
    the run may take.
    """
    bound_s = execution.patience
    if options.deadline is not None:
        bound_s = min(bound_s, max(0.0, options.deadline - time.monotonic()))

    def say(line: str) -> None:
        print(line, file=options.stream, flush=True)

    return Patience(bound_s, say, hurried=lambda: False)


def ready(execution: Execution, options: Options) -> AbstractContextManager[None]:
    """What a run needs of its executor, held until it ends; `drive` and `drive_search` use it
    inside.

    For a caller that has no store yet: raises UserError where no trial could run, before a store is
    made.
    """
    return _executor(options.executor).ready(_job(execution, options, train_trial))


def _job(execution: Execution, options: Options, worker: Worker) -> Job:
    folder = None if options.folder is None else str(options.folder)
    if not is_url(execution.data):  # a worker runs in a folder of its own
        data = str(Path(execution.data).resolve())
        execution = execution.model_copy(update={"data": data})
    return Job(execution, folder, worker, options.jobs, options.address)


def _executor(name: ExecutorName) -> Executor:
    if name == "inline":
        from scalelab.run.executors import inline

        return inline
    from scalelab.run.executors import ray

    return ray
