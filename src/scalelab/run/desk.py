"""The desk: between a search, which knows what is worth running, and an executor, which runs it,
with the store in their middle.

It hands a trial out only with a claim on it, so that two drivers on one store share the work; what
another driver runs is waited for where the search needs it. Failed attempts are handed out again
within a bound. What a search ended early is its own result alone, of which a second driver of the
same search hears: another search that asks for the trial gets it to go on with.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from signal import SIGINT, Signals
from typing import Any, Literal
from uuid import uuid4

from scalelab.core.canon import SHORT
from scalelab.core.errors import Unreadable, UserError
from scalelab.core.events import (
    FINISHED,
    Advanced,
    Damaged,
    Ended,
    Event,
    Measured,
    News,
    Noted,
    Overtaken,
    Refused,
    Saved,
    Started,
    is_pruned,
)
from scalelab.plan.plan import PlannedTrial
from scalelab.run.live import Live
from scalelab.run.pretrained import expected
from scalelab.run.registering import record
from scalelab.run.rescue import Diary, Entry
from scalelab.search import Searcher
from scalelab.store.claims import Taken
from scalelab.store.history import is_member
from scalelab.store.patience import Away, Lost
from scalelab.store.records import Result, TrialRecord
from scalelab.store.store import Store

StopReason = Literal["interrupted", "out of time", "without a store"]

LEASE_S = 30.0
"""A claim holds this long after its last renewal: then another machine takes over what a killed
driver held.
"""

POLL_S = 1.0
"""Between two looks at trials that other drivers run."""

GRACE_S = 10.0
"""What running trials get to save their position and end."""


def told(reason: StopReason, number: int | None) -> str:
    """`interrupted`, `interrupted by SIGTERM`, `out of time`."""
    by = "" if number in (None, SIGINT) else f" by {Signals(number).name}"
    return f"{reason}{by}"


class StoreDesk:
    """Hands out trials, writes down what they tell, and tells the search their results."""

    def __init__(
        self,
        search: Searcher,
        store: Store,
        owner: str,
        environment: dict[str, Any],
        *,
        retries: int,
        retry_failed: bool,
        deadline: float | None,
        live: Live,
        experiment: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`experiment` is the one whose member each trial becomes when it is asked for; None where
        all are members already.
        """
        self.outcomes: Counter[str] = Counter()
        """How the trials that were run here ended."""
        self.pruned = 0
        """How many of the stopped ones the search ended early."""
        self.errors: dict[str, str] = {}
        """Digest -> error of the trials that failed here for good."""
        self.stopped: StopReason | None = None
        self.signal: int | None = None
        """The signal that stopped the run."""
        self.fault: Away | Lost | None = None
        """What became of the store, where nothing more can be written."""
        self.diary = Diary()
        """All that was written, and what can't be."""
        self._search, self._store, self._owner, self._environment = (
            search,
            store,
            owner,
            environment,
        )
        self._retries, self._retry_failed, self._deadline = retries, retry_failed, deadline
        self._live, self._experiment, self._clock = live, experiment, clock
        self._stopped_at = 0.0
        self._said: set[str] = set()
        self._out: dict[str, PlannedTrial] = {}
        self._attempts: dict[str, int] = {}
        self._begun: set[str] = set()
        self._failures: Counter[str] = Counter()
        # Steps of the newest checkpoint of each trial, and of the one that the last death left.
        self._saved: dict[str, int] = {}
        self._reached: dict[str, int] = {}
        self._again: deque[PlannedTrial] = deque()
        self._elsewhere: dict[str, PlannedTrial] = {}
        self._shared: set[str] = (
            set()
        )  # members of the experiment before they were asked for here: another driver's too
        self._polled = float("-inf")

    def stop(self, reason: StopReason, number: int | None = None) -> None:
        """Hand nothing more out, and ask the running trials to save and end.

        The first reason stays. `number` is the signal that interrupts.
        """
        if self.stopped is None:
            # In this order: other threads look at `stopped` first.
            self.signal, self._stopped_at, self.stopped = number, self._clock(), reason

    def give_up(self, fault: Away | Lost) -> None:
        """Stop, as the store is lost or stays away."""
        if self.fault is None:
            self.fault = fault
            self.stop("without a store")

    def beat(self) -> None:
        """The heartbeat: look whether the store is still there, and hold the claims."""
        self._look()
        if self.fault is None:
            self._store.renew(self._owner, LEASE_S)

    def conclude(self) -> None:
        """The last look before the last word. Raises Away or Lost where not all is written down."""
        try:
            if self.fault is None:
                self._store.database.patiently(self._store.flush)
                self._store.database.patiently(self._store.database.check)
        except (Away, Lost) as fault:
            self.give_up(fault)
        if self.fault is not None:
            raise self.fault

    def leave(self) -> None:
        """Give every claim back; one that can't be is free when its lease ends."""
        if not isinstance(self.fault, Lost):
            with suppress(Away, Lost):
                self._store.release(self._owner)

    def _look(self) -> None:
        try:
            self._store.database.check()
        except Lost as fault:
            self.give_up(fault)

    @property
    def stopping(self) -> bool:
        """Whether somebody, or the clock, said stop."""
        if self._is_stopped() and self.stopped is not None:
            # Not said in `stop`, which a signal may call while a line is being written.
            again = "another signal" if self.signal not in (None, SIGINT) else "Ctrl-C"
            self.say(
                f"{told(self.stopped, self.signal)}: running trials save their position; {again}"
                " ends without waiting for them"
            )
        return self.stopped is not None

    @property
    def overdue(self) -> bool:
        """Whether trials that were asked to stop have had their time; says nothing, so that any
        thread may ask.
        """
        return self._is_stopped() and self._clock() - self._stopped_at > GRACE_S

    def _is_stopped(self) -> bool:
        if self._deadline is not None and self._clock() >= self._deadline:
            self.stop("out of time")
        return self.stopped is not None

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to hand out, now or later."""
        return self._search.finished or self.stopping

    def ask(self) -> PlannedTrial | None:
        """A trial with a claim on it; one that is to be tried again comes first, then one that
        another driver left.
        """
        if self.stopping:
            return None
        try:
            planned = self._claimed_again() or self._left_by_others() or self._claimed_new()
            if planned is not None:
                planned = replace(planned, layers_sha256=expected(self._store, planned.trial))
        except (Away, Lost) as fault:
            self.give_up(fault)
            return None
        if planned is not None:
            self._out[planned.digest] = planned
            if self._experiment is not None:
                self._note(planned.digest, record(planned))
        return planned

    def tell(self, digest: str, event: Event) -> bool:
        """Write the event down; an end is told to the search, or the trial is put up to be tried
        again.

        True where the search has seen enough of the trial: it is to end. Raises UserError where the
        trial can keep nothing, and Unreadable where it can read nothing.
        """
        if digest not in self._out:
            return True  # late news of a trial that another driver has taken over
        match event:
            case Noted():
                self._live.say(f"{digest[:SHORT]}: {event.text}")
                return False
            case Saved():
                self._saved[digest] = event.step
                return False
            case Refused():
                self._look()
                if self.fault is not None:
                    return False  # the folder has gone with the store, perhaps
                raise UserError(
                    f"checkpoints and models can't be kept: {event.why}",
                    cure="make room there, and run the same command again",
                    where=event.place,
                )
            case Damaged():
                raise Unreadable(event.what, cure=event.cure, where=event.where, home=event.home)
            case Overtaken():
                self._look()  # the store may be gone with the folder
                if self.fault is None:
                    self._leave(digest)
                return True
            case _:
                return self._course(self._out[digest], event)

    def _course(self, planned: PlannedTrial, event: News | Advanced) -> bool:
        """Write the course of a trial down and show it; whether its search has seen enough."""
        digest, enough, is_ours = planned.digest, False, True
        if self.signal is not None and isinstance(event, Ended) and event.state == "failed":
            return True  # the signal reached what it stood on, too: a compiler, a worker
        if isinstance(event, Started) or digest not in self._begun:
            self._begun.add(digest)
            started = (
                event if isinstance(event, Started) else Started({})
            )  # a worker that died before its first word
            self._reached.setdefault(digest, started.resumed)
            self._saved[digest] = max(started.resumed, self._saved.get(digest, 0))
            is_ours = self._write(digest, started)
        if isinstance(event, Measured):
            enough = self._search.measured(digest, event.step, event.values)
        if isinstance(event, Measured | Ended):
            is_ours = is_ours and self._write(digest, event)
        if not is_ours:
            self._leave(digest)
            return True
        if isinstance(event, Ended):
            self._begun.discard(digest)
            del self._out[digest]
            self._ended(planned, event)
        self._live.show(planned, event)
        return enough

    def _leave(self, digest: str) -> None:
        """Leave a trial to the driver that has taken it over."""
        self.say(
            "another driver has taken over a trial that was suspended here, or seemed to be: what"
            " was done since its last checkpoint is void"
        )
        self._begun.discard(digest)
        self._attempts.pop(digest, None)
        self._wait_for(self._out.pop(digest))

    def say(self, text: str) -> None:
        """Show the user a line, if it was not shown before."""
        if text not in self._said:
            self._said.add(text)
            self._live.say(text)

    def _write(self, digest: str, event: News) -> bool:
        """Write down, in the diary alone where the store is lost or stays away: for then the run
        is about to stop. False where another driver has taken the trial over.
        """
        key = uuid4().hex
        self._note(digest, event, key)
        if self.fault is not None:
            return True
        try:
            if isinstance(event, Started):
                self._attempts[digest] = self._store.begin(
                    digest, event, self._environment, self._owner, LEASE_S, key=key
                )
            elif isinstance(event, Measured):
                self._store.measure(digest, self._attempts[digest], event)
            else:
                return self._store.end(digest, self._attempts.pop(digest), event)
        except Taken:
            return False
        except (Away, Lost) as fault:
            self.give_up(fault)
        return True

    def _note(self, digest: str, event: News | TrialRecord, key: str = "") -> None:
        self.diary.note(Entry(self._store.clock(), digest, event, key))

    def _ended(self, planned: PlannedTrial, ended: Ended) -> None:
        """Tell the search, or put a failed trial up to be tried again: a bounded number of times,
        but after every death of a worker that had saved more than the attempt before it; never in
        the same form where the memory was too small.
        """
        digest = planned.digest
        if ended.state == "failed":
            has_progressed = self._saved.get(digest, 0) > self._reached.get(digest, 0)
            if ended.cause == "death" and has_progressed:
                self._reached[digest] = self._saved[digest]
                self._again.append(planned)
                return
            self._failures[digest] += 1
            if ended.cause != "memory" and self._failures[digest] <= self._retries:
                self._again.append(planned)
                return
            self.errors[digest] = ended.error
        self.outcomes[ended.state] += 1
        self.pruned += is_pruned(ended.state, ended.values)
        self._search.tell(digest, ended.state, ended.values)

    def _wait_for(self, planned: PlannedTrial) -> None:
        self._elsewhere[planned.digest] = planned
        self._polled = float("-inf")  # it may have its result by now
        self.say(
            "another driver works on this store: what it runs is not run here, and waited for where"
            " it is needed"
        )

    def _claimed_again(self) -> PlannedTrial | None:
        while self._again:
            planned = self._again.popleft()
            if self._store.claim(planned.digest, self._owner, LEASE_S, retry=True):
                return planned
            self._wait_for(planned)
        return None

    def _claimed_new(self) -> PlannedTrial | None:
        while (planned := self._search.ask()) is not None:
            if self._pruned_by_its_search(planned.digest):
                continue
            retry = self._retry_failed
            claimed = (
                self._store.claim(planned.digest, self._owner, LEASE_S, retry=retry)
                if self._experiment is None
                else self._store.enlist(
                    self._experiment, record(planned), self._owner, LEASE_S, retry=retry
                )
            )
            if claimed:
                return planned
            if not self._is_told(
                planned.digest, self._store.results([planned.digest])[planned.digest]
            ):
                self._wait_for(planned)
        return None

    def _pruned_by_its_search(self, digest: str) -> bool:
        """Whether another driver of the same search ended the trial early, of which the search then
        hears.
        """
        if self._experiment is None or not is_member(self._store, self._experiment, digest):
            return False
        self._shared.add(digest)
        result = self._store.results([digest])[digest]
        return is_pruned(result.state, result.metrics) and self._is_told(digest, result)

    def _is_told(self, digest: str, result: Result) -> bool:
        """Whether the trial has come to an end, of which the search then hears."""
        is_pruned_here = digest in self._shared and is_pruned(result.state, result.metrics)
        ended = is_pruned_here or result.as_planned in FINISHED or result.state == "failed"
        if ended:
            self._search.tell(digest, result.state, result.metrics)
        return ended

    def _left_by_others(self) -> PlannedTrial | None:
        """Looks after the trials that other drivers claimed: results go to the search, what was
        left comes back.
        """
        now = self._clock()
        if not self._elsewhere or now - self._polled < POLL_S:
            return None
        self._polled = now
        for digest, result in self._store.results(list(self._elsewhere)).items():
            if self._is_told(digest, result):
                del self._elsewhere[digest]
        for digest in self._store.unclaimed(list(self._elsewhere), self._owner, LEASE_S):
            if self._store.claim(digest, self._owner, LEASE_S):
                return self._elsewhere.pop(digest)
        return None
