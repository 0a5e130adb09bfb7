"""What a run shows."""

import io
from collections.abc import Callable

import pytest

from scalelab.core.events import Advanced, Ended, Measured, Started
from scalelab.plan.plan import Plan
from scalelab.run.live import Meter, PlainLive, TerminalLive, open_live, sentence
from scalelab.search import Progress
from scalelab.search.grid import GridSearch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_meter_counts_tokens_of_every_trial_and_predicts_from_the_share_done_here(
    make_plan: Callable[..., Plan],
) -> None:
    plan, now = make_plan(), 0.0
    done = [Progress(1, 5, "trials", 0.2)]
    meter = Meter(lambda: done[-1], clock=lambda: now)
    one, two = plan.trials[:2]
    now = 100.0  # starting an executor takes its time
    meter.note(one, Started({}, resumed=4))
    meter.note(two, Started({}))
    now = 110.0
    assert meter.seconds_left is None
    meter.note(one, Measured(8, {}))
    meter.note(two, Measured(6, {}))
    assert meter.running == {one.digest, two.digest}
    meter.note(two, Ended("done", 10, 1.0))
    done.append(Progress(2, 5, "trials", 0.4))
    assert meter.running == {one.digest}
    assert meter.tokens_per_second == (4 + 10) * one.tokens / one.steps / 10
    assert meter.seconds_left == pytest.approx(30.0)
    assert meter.line() == "2/5 trials, 8.42k tokens/s, about 30s left"


def test_the_first_trials_of_a_search_predict_nothing(make_plan: Callable[..., Plan]) -> None:
    planned, now = make_plan().trials[0], 0.0
    done = [Progress(10, 20, "cells", 0.5)]
    meter = Meter(lambda: done[-1], clock=lambda: now)
    meter.note(planned, Started({}))
    now = 60.0
    done.append(Progress(11, 20, "cells", 0.54))
    assert meter.seconds_left is None
    assert "left" not in meter.line()
    done.append(Progress(12, 20, "cells", 0.56))
    assert meter.seconds_left == pytest.approx(440)


def test_the_share_moves_with_the_trials_that_run(make_plan: Callable[..., Plan]) -> None:
    trials, now = make_plan().trials, 0.0
    search = GridSearch(trials)
    meter = Meter(lambda: search.progress, clock=lambda: now, share_of=search.share_of)
    meter.note(trials[0], Started({}))
    now = 10.0
    meter.note(trials[0], Advanced(5, 0.5))
    half = meter.share
    assert half == trials[0].flops / 2 / sum(planned.flops for planned in trials)
    assert meter.tokens_per_second == trials[0].tokens / 2 / 10
    meter.note(trials[0], Advanced(10, 1.0))
    whole = meter.share
    search.tell(trials[0].digest, "done", {})
    meter.note(trials[0], Ended("done", 10, 20.0))
    assert meter.share == search.progress.share == pytest.approx(whole)
    meter.note(trials[1], Started({}))
    meter.note(trials[1], Advanced(9, 0.9))
    meter.note(trials[1], Ended("failed", 9, 20.0, error="no"))
    assert meter.share == search.progress.share


def test_what_an_earlier_run_has_done_tells_nothing_of_the_pace(
    make_plan: Callable[..., Plan],
) -> None:
    planned, now = make_plan("name: one\nbudget: {steps: 100}\n").trials[0], 0.0
    search = GridSearch([planned])
    meter = Meter(lambda: search.progress, clock=lambda: now, share_of=search.share_of)
    meter.note(planned, Started({}, resumed=90))
    assert meter.share == pytest.approx(0.9)
    now = 5.0
    meter.note(planned, Advanced(91, 0.91))
    assert meter.seconds_left == pytest.approx(45.0)
    meter.note(planned, Ended("failed", 91, 5.0, error="no"))
    meter.note(planned, Started({}, resumed=91))
    now = 10.0
    meter.note(planned, Advanced(92, 0.92))
    assert meter.seconds_left == pytest.approx(40.0)


def test_an_attempt_that_begins_again_counts_its_tokens_again(
    make_plan: Callable[..., Plan],
) -> None:
    planned, now = make_plan().trials[0], 0.0
    meter = Meter(lambda: Progress(0, 1, "trials", 0.0), clock=lambda: now)
    for _ in range(2):
        meter.note(planned, Started({}))
        meter.note(planned, Ended("failed", 5, 1.0, error="no"))
    now = 1.0
    assert meter.tokens_per_second == pytest.approx(planned.tokens)


def test_piped_every_attempt_that_ends_is_one_plain_line(make_plan: Callable[..., Plan]) -> None:
    trials, stream = make_plan().trials, io.StringIO()
    search = GridSearch(trials)
    live = open_live(stream, lambda: search.progress)
    assert isinstance(live, PlainLive)
    with live:
        for event in (Started({}), Measured(5, {"recall": 0.1})):
            live.show(trials[0], event)
        search.tell(trials[0].digest, "done", {})
        live.show(trials[0], Ended("done", 10, 31.0, {"recall": 0.971, "seconds": 31.0}))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith(
        f"{trials[0].digest[:10]} model.width=4: done at step 10 after 31s, recall 0.971  (1/4"
        " trials, "
    )
    assert "\x1b" not in line


def test_on_a_terminal_a_bar_and_failures_above_it(make_plan: Callable[..., Plan]) -> None:
    trials, stream = make_plan().trials, Terminal()
    search = GridSearch(trials)
    live = open_live(stream, lambda: search.progress)
    assert isinstance(live, TerminalLive)
    with live:
        live.show(trials[0], Started({}))
        live.show(
            trials[0],
            Ended("failed", 3, 1.0, error="Traceback\n  File\nValueError: [no] such thing"),
        )
    shown = stream.getvalue()
    assert "ValueError: [no] such thing" in shown
    assert "0/4 trials" in shown
    assert shown.endswith(("\x1b[?25h", "\x1b[2K"))  # the cursor is back and the bar is gone


def test_a_failure_shows_the_last_line_of_its_traceback(make_plan: Callable[..., Plan]) -> None:
    planned = make_plan().trials[0]
    said = sentence(
        planned,
        Ended(
            "failed",
            3,
            1.0,
            error="Traceback (most recent call last):\n  ...\nMemoryError: too large\n",
        ),
    )
    assert (
        said
        == f"{planned.digest[:10]} model.width=4: failed at step 3 after 1.0s, MemoryError: too"
        " large"
    )


def test_a_trial_without_axes_is_called_by_its_digest(make_plan: Callable[..., Plan]) -> None:
    planned = make_plan("name: one\nbudget: {steps: 10}\n").trials[0]
    assert (
        sentence(planned, Ended("done", 10, 1.0))
        == f"{planned.digest[:10]}: done at step 10 after 1.0s"
    )


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_printed_ends_no_run(make_plan: Callable[..., Plan]) -> None:
    planned = make_plan().trials[0]
    live = PlainLive(Full(), Meter(lambda: Progress(0, 1, "trials", 0.0)))
    live.show(planned, Ended("done", 10, 1.0))
