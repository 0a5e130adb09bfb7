"""Which attempts a result stands on, and what `verify` says of their numerics."""

from pathlib import Path
from typing import Any

import pytest

from scalelab.core.events import Ended, Measured, Started
from scalelab.plan.plan import compile_plan
from scalelab.run.driver import register
from scalelab.run.verify import leading_to_result, verify
from scalelab.spec.load import load
from scalelab.store import open_store
from scalelab.store.curves import curve
from scalelab.store.records import Attempt
from scalelab.train import train

TINY = """
name: tiny
task: {people: 2, templates: 1}
model: {width: 4}
budget: {steps: 12}
batch: 4
evaluation: {first: 6, ratio: 2}
execution: {device: cpu}
"""


def attempt(key: str, state: Any, resumed: int = 0, **numerics: Any) -> Attempt:
    return Attempt(key, "owner", state, 0.0, None, resumed, None, None, numerics, {}, "")


@pytest.mark.parametrize(
    ("attempts", "chain"),
    [
        ([attempt("a", "done")], "a"),
        ([attempt("a", "stopped"), attempt("b", "lost", 5), attempt("c", "interrupted")], "a"),
        ([attempt("a", "interrupted"), attempt("b", "diverged", 5)], "ab"),
        ([attempt("a", "failed"), attempt("b", "done")], "b"),
        (
            [
                attempt("a", "lost"),
                attempt("b", "failed", 5),
                attempt("c", "lost", 5),
                attempt("d", "done", 9),
            ],
            "acd",
        ),
    ],
)
def test_the_attempts_that_led_to_a_result(attempts: list[Attempt], chain: str) -> None:
    assert "".join(one.key for one in leading_to_result(attempts)) == chain


@pytest.mark.parametrize("earlier", [{}, {"torch": "1.0"}])
def test_verify_looks_at_the_attempts_that_count(tmp_path: Path, earlier: dict[str, Any]) -> None:
    (tmp_path / "spec.yaml").write_text(TINY)
    plan = compile_plan(*load(tmp_path / "spec.yaml"))
    (planned,) = plan.trials
    events: list[Any] = []
    train(planned.trial, plan.experiment.execution, emit=events.append)
    numerics = events[0].numerics
    with open_store(tmp_path / "store.db", mode="write") as store:
        register(plan, store)

        def begin(started: Started) -> int:
            store.claim(planned.digest, "owner")
            return store.begin(planned.digest, started, {}, "owner")

        begin(Started(numerics | earlier))
        second = begin(Started(numerics, resumed=3))
        for event in events[1:]:
            if isinstance(event, Measured):
                store.measure(planned.digest, second, event)
            if isinstance(event, Ended):
                store.end(planned.digest, second, event)
        begin(
            Started({"device": "cuda", "torch": "0.1"})
        )  # a driver that came too late, and was killed
        stored, kept = store.trial(planned.digest), curve(store, planned.digest)
    assert [one.state for one in stored.attempts] == ["lost", "done", "running"]
    verdict = verify(stored, kept, "results/data")
    assert verdict.equal
    assert verdict.changed == ({"torch": ("1.0", numerics["torch"])} if earlier else {})
    assert ("though torch was 1.0, is" in verdict.sentence) is bool(earlier)
    last = max(step for step, _ in kept)
    older = {
        (step, name): value
        for (step, name), value in kept.items()
        if name not in ("bits_max", "chance") and (name != "recall_unseen" or step == last)
    }
    again = verify(stored, older, "results/data")
    assert again.equal  # what an earlier version did not measure does not differ
    assert again.compared == verdict.compared - (len(kept) - len(older)) < verdict.compared - 2
    other = {key: value for key, value in kept.items() if key[0] == last}
    assert not verify(stored, other, "results/data").equal  # it was evaluated elsewhere
