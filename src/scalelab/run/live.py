"""What a run shows while it runs: a bar on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from scalelab.core.canon import SHORT
from scalelab.core.events import Advanced, Ended, News, Started, State, is_pruned
from scalelab.core.units import brief, format_count, format_seconds
from scalelab.plan.plan import PlannedTrial
from scalelab.search import Progress

ShareOf = Callable[[PlannedTrial], float]
"""Which share of a run's work a trial is."""

TELLING = 0.1
"""The share of what there was to do that must be done before it tells of the rest: a search's first
trials are no fair sample.
"""


class Live(Protocol):
    """Shows a run. A context manager: what it holds of the terminal is given back."""

    def show(self, planned: PlannedTrial, event: News | Advanced) -> None:
        """A trial told something."""
        ...

    def say(self, text: str) -> None:
        """A line for the user."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_live(
    stream: TextIO,
    progress: Callable[[], Progress],
    standing: "Standing | None" = None,
    deadline: float | None = None,
    share_of: ShareOf = lambda planned: 0.0,
) -> Live:
    """The display that fits the stream; `progress` tells how far the search is, and `share_of`
    which share of its work a running trial is.

    A search over a space has a `standing`, and ends by the `deadline` (of the monotonic clock) at
    the latest.
    """
    deadline = None if standing is None else deadline
    meter = Meter(progress, standing=standing, deadline=deadline, share_of=share_of)
    return TerminalLive(stream, meter) if stream.isatty() else PlainLive(stream, meter)


class Standing:
    """What a search over a space has found so far: the best of each objective (metric -> minimize
    or maximize), and what it gave up.
    """

    def __init__(self, objectives: Mapping[str, str]) -> None:
        self.pruned = 0
        self.best: dict[str, float] = {}
        self._objectives = objectives

    def note(self, state: State, metrics: Mapping[str, float]) -> None:
        """A trial's end."""
        if is_pruned(state, metrics):
            self.pruned += 1
        elif state in ("done", "stopped"):
            for name, direction in self._objectives.items():
                value = metrics.get(name, math.nan)
                better = min if direction == "minimize" else max
                if math.isfinite(value):
                    self.best[name] = better(value, self.best.get(name, value))

    def parts(self) -> list[str]:
        """`5 pruned`, `best validation_loss 1.83`."""
        return [f"{self.pruned} pruned"] * bool(self.pruned) + [
            f"best {name} {value:.4g}" for name, value in self.best.items()
        ]


class Meter:
    """Tokens per second over all trials that run here, and the time that is left."""

    def __init__(
        self,
        progress: Callable[[], Progress],
        clock: Callable[[], float] = time.monotonic,
        standing: Standing | None = None,
        deadline: float | None = None,
        share_of: ShareOf = lambda planned: 0.0,
    ) -> None:
        self._share_of = share_of
        self._progress, self._clock, self._standing, self._deadline = (
            progress,
            clock,
            standing,
            deadline,
        )
        self._opened = clock()
        self._began: float | None = None
        self._share = progress().share
        self._tokens = 0.0
        self._advanced: dict[str, tuple[PlannedTrial, float]] = {}
        self._steps: dict[str, int] = {}
        self.running: set[str] = set()

    def note(self, planned: PlannedTrial, event: News | Advanced) -> None:
        """Count what an event tells of.

        The clock runs from the first one: starting an executor is no training.
        """
        self._began = self._clock() if self._began is None else self._began
        step = event.resumed if isinstance(event, Started) else event.step
        if not isinstance(event, Started):
            step = max(
                step, self._steps.get(planned.digest, step)
            )  # a resumed attempt tells its curve again
            self._tokens += (
                (step - self._steps.get(planned.digest, step))
                * planned.tokens
                / max(1, planned.steps)
            )
        if isinstance(event, Started):
            reached = event.resumed / max(1, planned.steps)
            if planned.digest not in self._steps:  # an earlier run's work tells nothing of the pace
                self._share += reached * self._share_of(planned)
            self._advanced[planned.digest] = planned, reached
        elif isinstance(event, Advanced):
            self._advanced[planned.digest] = planned, event.share
        elif isinstance(event, Ended):
            self._advanced.pop(planned.digest, None)
        self._steps[planned.digest] = step
        (self.running.discard if isinstance(event, Ended) else self.running.add)(planned.digest)
        if self._standing is not None and isinstance(event, Ended):
            self._standing.note(event.state, event.values)

    @property
    def tokens_per_second(self) -> float:
        """The mean since the first trial began."""
        return self._tokens / max(1e-9, self._seconds)

    @property
    def share(self) -> float:
        """Which share of the work is done, or of the time, whichever ends first."""
        if self._deadline is None:
            return self._done
        timed = (self._clock() - self._opened) / max(1e-9, self._deadline - self._opened)
        return min(1.0, max(self._done, timed))

    @property
    def seconds_left(self) -> float | None:
        """To the deadline, or by the share of the work that was done since the first trial began;
        None while that says little.
        """
        timed = [] if self._deadline is None else [max(0.0, self._deadline - self._clock())]
        share = self._done
        if share > self._share and share - self._share >= TELLING * (1 - self._share):
            timed.append(self._seconds * (1 - share) / (share - self._share))
        return min(timed, default=None)

    @property
    def _done(self) -> float:
        """Which share of the work is done, running trials counted by how far they are."""
        running = sum(share * self._share_of(planned) for planned, share in self._advanced.values())
        return min(1.0, self._progress().share + running)

    @property
    def _seconds(self) -> float:
        return 0.0 if self._began is None else self._clock() - self._began

    def line(self) -> str:
        """`12/40 trials, 310k tokens/s, 4m 10s left`; a search over a space tells what it found
        after the trials.
        """
        progress, left = self._progress(), self.seconds_left
        found = [] if self._standing is None else self._standing.parts()
        of = f"/{progress.total}" if progress.total else ""  # a search may have no end but its time
        parts = [
            f"{progress.done}{of} {progress.unit}",
            *found,
            f"{format_count(self.tokens_per_second)} tokens/s",
        ]
        return ", ".join(parts + ([f"about {format_seconds(left)} left"] if left else []))


class PlainLive:
    """One line for every attempt that ended."""

    def __init__(self, stream: TextIO, meter: Meter) -> None:
        self._stream, self._meter = stream, meter

    def show(self, planned: PlannedTrial, event: News | Advanced) -> None:
        self._meter.note(planned, event)
        if isinstance(event, Ended):
            self.say(f"{sentence(planned, event)}  ({self._meter.line()})")

    def say(self, text: str) -> None:
        # A trial is worth more than the line about it: a full disk, a closed pipe or a letter that
        # the stream cannot write (a ValueError) does not end the run.
        with suppress(OSError, ValueError):
            print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class TerminalLive:
    """A bar with what is running under it; failures stay above."""

    def __init__(self, stream: TextIO, meter: Meter) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self._meter = meter
        text = TextColumn(
            "{task.description}",
            markup=False,
            # Of a narrow terminal the text gives way, not the bar.
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        )
        self._bar = Bar(
            SpinnerColumn(),
            BarColumn(bar_width=20),
            text,
            console=Console(file=stream),
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=1.0)
        self._last = ""

    def show(self, planned: PlannedTrial, event: News | Advanced) -> None:
        self._meter.note(planned, event)
        if isinstance(event, Ended):
            self._last = sentence(planned, event)
            if event.state == "failed":
                self.say(self._last)
        text = f"{self._meter.line()}, {len(self._meter.running)} running   {self._last}"
        self._bar.update(self._task, completed=self._meter.share, description=text)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def sentence(planned: PlannedTrial, ended: Ended) -> str:
    """`3f2a91c0de task.people=16 model.width=8: stopped at step 1400 after 31s, recall 0.97`."""
    name = " ".join(
        [
            planned.digest[:SHORT],
            *(f"{path}={brief(value)}" for path, value in planned.axes.items()),
        ]
    )
    outcome: Any = (
        ended.error.strip().splitlines()[-1:]
        if ended.state == "failed"
        else _metrics(planned.trial.task.main_metric, ended.values)
    )
    state = "pruned" if is_pruned(ended.state, ended.values) else ended.state
    said = f"{name}: {state} at step {ended.step} after {format_seconds(ended.seconds)}"
    return ", ".join([said, *outcome])


def _metrics(main: str, values: dict[str, float]) -> list[str]:
    names = dict.fromkeys((main, "loss"))
    return [f"{name} {values[name]:.3g}" for name in names if name in values]
