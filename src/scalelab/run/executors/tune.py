"""A desk's trials as a Ray Tune experiment: the desk is its searcher, and its callback brings the
news back.

Imported by the Ray executor alone, once Ray is wanted. All of it runs in the driver, but for
`_trainable`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray  # noqa: TID253 - this file is imported where Ray is wanted
from ray import tune  # noqa: TID253 - this file is imported where Ray is wanted
from ray.experimental import internal_kv  # noqa: TID253
from ray.tune.search import Searcher  # noqa: TID253

from scalelab.core.events import Ended, Event, Measured, Saved
from scalelab.core.secrets import masked
from scalelab.run.executors.base import OUT_OF_MEMORY, Desk, Job, attempt, is_out_of_memory
from scalelab.run.scratch import scratch
from scalelab.spec.experiment import Trial

POST_S = 0.5
"""Seconds between two reports of a trial, but for its last."""

WAIT_S = 5.0
"""Seconds in which a first trial begins on a cluster that has room for it."""

BELL_S = 0.2
"""Seconds between two looks of a running trial at the bell."""

LOOK_S = 0.5
"""Seconds between two looks at whether the running trials are overdue."""

LEAVE_S = 2.0
"""What Tune gets to end trials that are given up."""


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and what each takes; fractions of a GPU are fine."""

    number: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Assignment:
    """A trial on its way to a worker.

    Tune writes what it is given into names and tables, so it shows itself briefly.
    """

    trial: Trial
    digest: str
    layers_sha256: str | None

    def __repr__(self) -> str:
        return self.digest[:12]


def run_tune(desk: Desk, job: Job, slots: Slots) -> None:
    """Run the desk's trials in Ray's reused actors; returns when the desk is finished,
    or overdue.

    Tune runs in a thread of its own, as calls into a Ray whose head is dead do not return: this
    thread stays free to answer signals, and leaves the other behind if need be.
    """
    board = Board(uuid4().hex)
    searcher = DeskSearcher(desk, slots.number)
    messenger = Messenger(desk, board, slots if job.address is not None else None)
    faults: list[BaseException] = []

    def tune_trials() -> None:
        try:
            with ExitStack() as stack:
                stack.callback(board.put_away)
                folder = stack.enter_context(scratch("scalelab-"))
                _tuner(job, slots, board, searcher, messenger, str(folder)).fit()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=tune_trials, name="tune", daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not desk.overdue:
            thread.join(LOOK_S)
    finally:
        messenger.gives_up = True
        thread.join(LEAVE_S)
    for fault in faults:
        if not isinstance(fault, GivenUp):
            # What the desk raised (a full disk, say) comes as it was, not in Tune's wrapping.
            raise (messenger.fault or searcher.fault or fault) from None


def _tuner(
    job: Job,
    slots: Slots,
    board: "Board",
    searcher: "DeskSearcher",
    messenger: "Messenger",
    folder: str,
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(_trainable(job, board), {"cpu": slots.cpus, "gpu": slots.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: (
                "trial"
            ),  # one folder for all: they keep nothing there
        ),
        run_config=tune.RunConfig(
            name="run", storage_path=folder, callbacks=[messenger], verbose=0
        ),
    )


def _trainable(job: Job, board: "Board") -> Callable[[dict[str, Any]], None]:
    def run_trial(config: dict[str, Any]) -> None:
        assignment, bell = config["assignment"], Bell(board)
        post = Post(board, tune.get_context().get_trial_id()) if job.prunes else Post()
        attempt(
            job,
            assignment.trial,
            assignment.digest,
            post.emit,
            stopping=bell.rung,
            pruned=lambda: post.pruned,
            layers_sha256=assignment.layers_sha256,
        )
        post.send()

    return run_trial


class Board:
    """Where the driver pins notes that every worker, on whatever node, can look for: keys in the
    cluster's own key-value store.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    def pin(self, note: str) -> None:
        """Once this returns, every worker that looks finds the note."""
        internal_kv._internal_kv_put(f"{self._run}/{note}", b"1", namespace="scalelab")

    def has(self, note: str) -> bool:
        return bool(internal_kv._internal_kv_exists(f"{self._run}/{note}", namespace="scalelab"))

    def put_away(self) -> None:
        internal_kv._internal_kv_del(f"{self._run}/", del_by_prefix=True, namespace="scalelab")


class Post:
    """Events on their way to the driver.

    A report waits until the driver has read it, so that events travel together.

    Where the search may end the trial early, by the note `trial` on the board, each Measured
    travels at once, and its answer is on the board when the report returns.
    """

    def __init__(self, board: Board | None = None, trial: str = "") -> None:
        self.pruned = False
        self._board, self._trial = board, trial
        self._events: list[Event] = []
        self._sent = float("-inf")

    def emit(self, event: Event) -> None:
        """Send what there is, unless something was sent a moment ago: then the event waits for the
        next ones.
        """
        self._events.append(event)
        if self._board is not None and isinstance(event, Measured):
            self.send()
            self.pruned = self.pruned or self._board.has(self._trial)
        elif isinstance(event, Saved) or time.monotonic() - self._sent >= POST_S:
            self.send()  # a worker that dies is judged by what it is known to have saved

    def send(self) -> None:
        """Send what waits."""
        if self._events:
            tune.report({"events": self._events})
            self._events, self._sent = [], time.monotonic()


class Bell:
    """Tells every worker to save and end."""

    NOTE = "stop"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._heard, self._looked = False, 0.0

    def ring(self) -> None:
        self._board.pin(self.NOTE)

    def rung(self) -> bool:
        """Cheap enough to ask at every step."""
        now = time.monotonic()
        if not self._heard and now - self._looked >= BELL_S:
            self._looked = now
            self._heard = self._board.has(self.NOTE)
        return self._heard


class GivenUp(Exception):
    """Running trials are ended as they are. No BaseException: Tune ends them after these alone."""


class DeskSearcher(Searcher):
    """The desk as Tune sees it."""

    def __init__(self, desk: Desk, slots: int) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self._desk, self._slots = desk, slots
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """The next trial, None or FINISHED; never one more than can start at once, as it would be
        claimed and wait.
        """
        try:
            if self._desk.finished:
                return Searcher.FINISHED
            planned = self._desk.ask() if len(self._running) < self._slots else None
        except Exception as error:
            self.fault = error
            raise
        if planned is None:
            return None
        self._running.add(trial_id)
        return {"assignment": Assignment(planned.trial, planned.digest, planned.layers_sha256)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A slot is free."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing either."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; the desk holds a database.


class Messenger(tune.Callback):
    """Brings events to the desk, and the desk's wishes to the workers: to stop, and to end a trial
    that its search has given up.
    """

    def __init__(self, desk: Desk, board: Board, shared: Slots | None) -> None:
        """`shared` is what a trial takes of a cluster that others use, too."""
        self.gives_up = False
        """Whether the running trials are to be ended as they are."""
        self.fault: Exception | None = None
        self._desk, self._board, self._bell = desk, board, Bell(board)
        self._shared, self._since = shared, time.monotonic()
        self._rang = False
        self._began: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._ended: set[str] = set()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called many times a second."""
        if self.gives_up:
            raise GivenUp
        if self._desk.stopping and not self._rang:
            self._bell.ring()
            self._rang = True
        if self._shared is not None and not self._began:
            self._say_what_it_waits_for(self._shared)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt begins."""
        self._began[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Events arrived."""
        for event in result["events"]:
            if isinstance(event, Ended):
                self._ended.add(trial.trial_id)
            elif isinstance(event, Measured):
                self._steps[trial.trial_id] = event.step
            self._tell(trial, event)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker died: killed, out of memory, or never started.

        It may have told its result before.
        """
        if trial.trial_id in self._ended:
            return
        seconds = time.monotonic() - self._began.get(trial.trial_id, time.monotonic())
        why = (
            Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure #")[2]
            if trial.error_file
            else ""
        )
        is_full = is_out_of_memory(why)
        last = OUT_OF_MEMORY if is_full else "The worker died: it was killed, or could not start."
        ended = Ended(
            "failed",
            self._steps.get(trial.trial_id, 0),
            seconds,
            error=f"{masked(why)}{last}",
            cause="memory" if is_full else "death",
        )
        self._tell(trial, ended)

    def _say_what_it_waits_for(self, slots: Slots) -> None:
        if time.monotonic() - self._since < WAIT_S:
            return
        self._shared = None
        there, free = ray.cluster_resources(), ray.available_resources()
        units = ("CPU", "GPU") if slots.gpus else ("CPU",)
        room = " and ".join(
            f"{free.get(unit, 0.0):g} of {there.get(unit, 0.0):g} {unit}s" for unit in units
        )
        needed = f"{slots.cpus:g} CPUs" + (f" and {slots.gpus:g} GPUs" if slots.gpus else "")
        self._desk.say(
            f"no trial has begun yet: each takes {needed}, and {room} of the cluster are free; the"
            " run waits for room"
        )

    def _tell(self, trial: Any, event: Event) -> None:
        try:
            if self._desk.tell(trial.config["assignment"].digest, event):
                self._board.pin(trial.trial_id)
        except Exception as error:
            self.fault = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; the desk holds a database.
