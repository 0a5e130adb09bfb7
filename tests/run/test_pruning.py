"""Trials that their search ends early: under both executors at the same evaluation, and gone on
with by whoever wants them.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from ray import cloudpickle
from tests.run import searching
from tests.run.searching import SPACE, BestSoFar, descending

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Event, Measured
from scalelab.plan.diff import resumed_search
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.run.driver import Options, drive, drive_search
from scalelab.run.executors import inline, ray
from scalelab.run.executors.base import Job, train_trial
from scalelab.run.verify import verify
from scalelab.spec.execution import Execution
from scalelab.store import open_store
from scalelab.store.curves import curve
from scalelab.store.store import Store

cloudpickle.register_pickle_by_value(searching)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TINY = """
name: {name}
task: {{people: 2, templates: 1}}
model: {{width: 4}}
budget: {{steps: 12}}
batch: 4
evaluation: {{first: 3, ratio: 1.5}}
execution: {{device: cpu}}
axes:
  optim.lr: [3e-2, 1e-2, 1e-3, 3e-3, 1e-4]
"""
"""From the best learning rate to worse ones, more or less."""


class PruningDesk:
    """Hands out trials in order, keeps what they tell, and ends every one but the first after its
    second new measurement.
    """

    stopping = overdue = False

    def __init__(self, trials: list[PlannedTrial]) -> None:
        self.queue, self.out, self.told = (
            list(trials),
            set[str](),
            {planned.digest: list[Event]() for planned in trials},
        )
        self.first = trials[0].digest

    @property
    def finished(self) -> bool:
        return not (self.queue or self.out)

    def ask(self) -> PlannedTrial | None:
        planned = self.queue.pop(0) if self.queue else None
        self.out |= {planned.digest} if planned else set()
        return planned

    def tell(self, digest: str, event: Event) -> bool:
        self.told[digest].append(event)
        if isinstance(event, Ended):
            self.out.discard(digest)
        return (
            digest != self.first
            and sum(isinstance(one, Measured) for one in self.told[digest]) == 2
        )


def run(
    store: Store,
    plan: Plan,
    executor: str,
    folder: Path,
    worker: Callable[..., Ended] = train_trial,
    trials: int = 5,
):
    options = Options(executor, jobs=1, folder=folder, stream=StringIO())
    search = BestSoFar(plan.trials, trials)
    execution = plan.experiment.execution
    return drive_search(
        search, store, options, experiment="hill", spec=SPACE, execution=execution, worker=worker
    )


def without_speed(events: list[Event]) -> list[Event]:
    """Events of which two equal runs have equal ones."""

    def kept(values: dict[str, float]) -> dict[str, float]:
        return {
            name: value for name, value in values.items() if name in ("loss", "recall", "pruned")
        }

    told = [
        replace(event, values=kept(event.values))
        for event in events
        if isinstance(event, Measured | Ended)
    ]
    return [replace(event, seconds=0.0) if isinstance(event, Ended) else event for event in told]


def test_a_trial_ends_at_the_evaluation_that_decides_with_the_same_bits_under_both(
    ray_session: None, make_plan: Callable[..., Plan]
) -> None:
    trials = make_plan(TINY.format(name="tiny")).trials[:3]
    desks = {"inline": PruningDesk(trials), "ray": PruningDesk(trials)}
    for name, desk in desks.items():
        (ray if name == "ray" else inline).execute(
            desk, Job(Execution(device="cpu"), jobs=2, prunes=True)
        )
    told = [
        {digest: without_speed(events) for digest, events in desk.told.items()}
        for desk in desks.values()
    ]
    assert told[0] == told[1]
    ends = [events[-1] for events in told[1].values()]
    assert [ended.state for ended in ends if isinstance(ended, Ended)] == [
        "done",
        "stopped",
        "stopped",
    ]
    second = [event for event in told[1][trials[1].digest] if isinstance(event, Measured)]
    assert len(second) == 2
    assert ends[1] == Ended(
        "stopped", second[1].step, 0.0, {**second[1].values, "pruned": float(second[1].step)}
    )


def test_the_same_search_gives_the_same_store_under_both(
    ray_session: None, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, told = make_plan(TINY.format(name="tiny")), []
    for executor in ("inline", "ray"):
        with open_store(tmp_path / f"{executor}.db", mode="write") as store:
            summary = run(store, plan, executor, tmp_path / executor)
            found = [
                (
                    one.record.digest,
                    one.result.state,
                    one.result.step,
                    one.result.metrics["loss"],
                )
                for one in store.members("hill")
            ]
            told.append(
                (
                    found,
                    [curve(store, digest)[step, "loss"] for digest, _, step, _ in found],
                    dict(summary.outcomes),
                )
            )
            assert (
                sum("pruned" in one.result.metrics for one in store.members("hill"))
                == summary.pruned
                > 0
            )
    assert told[0] == told[1]


@pytest.mark.parametrize(("prunes", "together"), [(False, [1, 11]), (True, [1] * 12)])
def test_measurements_travel_together_where_nobody_waits_for_an_answer(
    ray_session: None,
    make_plan: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    prunes: bool,
    together: list[int],
) -> None:
    from scalelab.run.executors import tune

    seen: list[int] = []
    real = tune.Messenger.on_trial_result

    def count(self, iteration, trials, trial, result, **info):
        seen.append(len(result["events"]))
        real(self, iteration, trials, trial, result, **info)

    monkeypatch.setattr(tune.Messenger, "on_trial_result", count)
    ray.execute(
        PruningDesk(make_plan().trials[:1]),
        Job(Execution(), jobs=1, worker=descending(), prunes=prunes),
    )
    assert seen == together


def test_an_attempt_that_fails_while_it_ends_is_asked_about_anew(
    executor: str, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    planned = make_plan().trials[0]

    class Retrying(PruningDesk):
        def tell(self, digest: str, event: Event) -> bool:
            given_up = super().tell(digest, event)
            if isinstance(event, Ended) and event.state == "failed":
                self.queue.append(planned)
                self.told[digest].clear()
            return given_up

    def fail_once(trial, execution, *, folder, emit, stopping, pruned):
        ended = descending()(
            trial,
            execution,
            folder=None,
            emit=lambda event: None if isinstance(event, Ended) else emit(event),
            stopping=stopping,
            pruned=pruned,
        )
        if not Path(folder).exists():
            Path(folder).mkdir(parents=True)
            raise OSError("the checkpoint can't be written")
        emit(ended)
        return ended

    desk = Retrying([planned])
    desk.first = ""
    module = ray if executor == "ray" else inline
    module.execute(desk, Job(Execution(), str(tmp_path / "trials"), fail_once, jobs=1, prunes=True))
    *_, ended = desk.told[planned.digest]
    assert (type(ended), len(desk.told[planned.digest])) == (Ended, 4)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.step) == ("stopped", 2)


def test_a_plan_goes_on_with_a_pruned_trial_and_ends_with_the_bits_of_one_that_never_was(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(TINY.format(name="tiny"))
    folders = {name: tmp_path / name for name in ("pruned", "whole")}
    with (
        open_store(tmp_path / "pruned.db", mode="write") as store,
        open_store(tmp_path / "whole.db", mode="write") as other,
    ):
        run(store, plan, "inline", folders["pruned"])
        digest, *_ = [
            one.record.digest for one in store.members("hill") if "pruned" in one.result.metrics
        ]
        stored = store.trial(digest)
        assert (stored.result.state, stored.result.as_planned, stored.artifacts) == (
            "stopped",
            "queued",
            {},
        )
        assert (folders["pruned"] / digest / "checkpoint.pt").exists()
        step = stored.result.step
        with pytest.raises(
            UserError, match=r"ended early by its search, and has no result to verify; run a spec"
        ):
            verify(stored, curve(store, digest), "results/data")
        results = store.results([planned.digest for planned in plan.trials])
        search = resumed_search(plan, results)
        done = sum(result.state == "done" for result in results.values())
        assert search.progress.done == done < 5
        assert digest in [planned.digest for planned in search.open]
        summary = drive(plan, store, Options("inline", folder=folders["pruned"], stream=StringIO()))
        assert (summary.known, summary.outcomes) == (done, {"done": 5 - done})
        drive(plan, other, Options("inline", folder=folders["whole"], stream=StringIO()))
        once, whole = store.trial(digest), other.trial(digest)
        assert once.artifacts["weights_sha256"] == whole.artifacts["weights_sha256"]
        assert [(one.state, one.resumed) for one in once.attempts] == [
            ("stopped", 0),
            ("done", step),
        ]
        assert "pruned" not in once.result.metrics
        verdict = verify(once, curve(store, digest), "results/data")
        assert verdict.equal, verdict.sentence
