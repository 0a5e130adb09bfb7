"""Trials that an older recipe has results of: named, run again, and not verified."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scalelab.core.errors import UserError
from scalelab.plan.plan import Plan, compile_plan
from scalelab.run.driver import Options, drive
from scalelab.run.older import Older, older_note, older_parts, older_results
from scalelab.run.registering import register
from scalelab.run.verify import verify
from scalelab.spec.load import load
from scalelab.store import open_store
from scalelab.store.store import Store

SPEC = """\
name: grid
task: {people: 2, templates: 1}
model: {width: 4}
budget: {steps: 4}
batch: 4
optim: {schedule: {kind: linear, warmup: 1}}
axes: {optim.schedule.floor: [0, 0.1]}
replicates: 2
execution: {device: cpu}
"""


def planned(folder: Path, text: str = SPEC) -> Plan:
    (folder / "grid.yaml").write_text(text)
    return compile_plan(*load(folder / "grid.yaml"))


def under_older_recipe(plan: Plan) -> Plan:
    """The plan as it was before: the trials whose recipe was raised under their digest of then."""
    then = [(trial, next(iter(trial.trial.older_digests()), trial.digest)) for trial in plan.trials]
    return replace(plan, trials=[replace(trial, digest=digest) for trial, digest in then])


def run(plan: Plan, store: Store) -> dict[str, int]:
    return dict(drive(plan, store, Options(executor="inline")).outcomes)


def asked(store: Store, plan: Plan) -> list[Older]:
    return older_results(store, plan, store.results([trial.digest for trial in plan.trials]))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(tmp_path / "store.db", mode="write") as opened:
        yield opened


def test_what_an_older_recipe_has_run_is_named_until_it_has_run_again(
    store: Store, tmp_path: Path
) -> None:
    plan = planned(tmp_path)
    then = under_older_recipe(plan)
    assert asked(store, plan) == []
    assert run(then, store) == {"done": 4}
    falling = [
        one.digest for one in plan.trials if one.trial.optim.schedule.recipe_in(one.trial) > 1
    ]
    found = asked(store, plan)
    assert [one.digest for one in found] == falling
    assert {one.older for one in found} == {one.digest for one in then.trials} - {
        one.digest for one in plan.trials
    }
    assert {tuple(one.parts) for one in found} == {("optim.schedule",)}
    assert older_note(found).startswith("note: 2 of the trials were run under an older recipe")
    register(plan, store)  # as a run that is interrupted at once leaves it
    assert asked(store, plan) == found
    assert run(plan, store) == {"done": 2}
    assert asked(store, plan) == []
    assert older_note([]) == ""
    kept = store.results([one.older for one in found])
    assert [result.state for result in kept.values()] == ["done", "done"]


def test_what_an_older_recipe_has_no_result_of_is_not_named(store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path)
    register(under_older_recipe(plan), store)
    assert asked(store, plan) == []


def test_several_parts_are_named_together(store: Store, tmp_path: Path) -> None:
    text = SPEC.replace("optim: {", "optim: {kind: muon, ").replace("[0, 0.1]", "[0]")
    plan = planned(tmp_path, text)
    run(under_older_recipe(plan), store)
    assert {tuple(one.parts) for one in asked(store, plan)} == {("optim", "optim.schedule")}
    assert "`optim` and `optim.schedule`" in older_note(asked(store, plan))


def test_a_trial_of_an_older_recipe_is_not_verified(store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path)
    then = under_older_recipe(plan)
    run(then, store)
    for one, of_then in zip(plan.trials, then.trials, strict=True):
        stored = store.trial(of_then.digest)
        if one.digest == of_then.digest:
            assert older_parts(stored.record) == []
            continue
        assert older_parts(stored.record) == ["optim.schedule"]
        with pytest.raises(UserError, match=f"older recipe.*verify {one.digest[:10]}"):
            verify(stored, {}, "data")
