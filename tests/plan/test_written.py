"""What a spec in a store says of a trial's budget."""

from pathlib import Path
from typing import Any

import pytest

from scalelab.plan.plan import compile_plan
from scalelab.plan.written import written
from scalelab.spec.load import load

SPEC = """
name: ways
task: {people: 4}
model: {ffn: {width: solve}}
budget: {exposures: 5, params: 20432}
arms:
  base: {}
  short: {budget: {flops: 1G}, model.ffn.width: 16}
  wide: {model.width: solve, model.ffn.width: null, budget.params: {target: 10k, tolerance: 0.2}}
axes: {budget.tokens: [10k, 20k], optim.lr: [1e-3]}
"""


def test_the_axes_and_the_arm_of_a_trial_are_in_its_budget(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    plan = compile_plan(*load(tmp_path / "spec.yaml"))
    spec = plan.experiment.model_dump(mode="json")
    seen = set[tuple[Any, ...]]()
    for planned in plan.trials:
        found = written(spec, planned.axes)
        assert found is not None
        assert found.budget.tokens == planned.axes["budget.tokens"]
        assert found.solved == planned.solved
        seen.add((planned.axes["arm"], found.budget.params and found.budget.params.target))
    assert seen == {("base", 20_432), ("short", None), ("wide", 10_000)}


@pytest.mark.parametrize(
    ("spec", "tokens"),
    [
        ({"base": {"budget": {"tokens": "1k"}}, "objectives": {}}, 1000),
        ({"base": {"model": {"width": 8}}, "objectives": {}}, 500),
        ({"imported": "table.csv"}, None),
        ({"budget": {"years": 3}}, None),
        ({}, None),
        ({"arms": [1], "budget": {"tokens": "1k"}}, None),
        ({"arms": {"a": None}, "budget": {"tokens": "1k"}}, None),
        ({"base": [1]}, None),
        ({"budget": [1], "model": None}, None),
        ({"budget": {"tokens": "1k"}, "model": [1]}, 1000),
    ],
    ids=str,
)
def test_a_space_has_a_budget_and_a_table_none(spec: dict[str, Any], tokens: int | None) -> None:
    axes = {"arm": "a"} | ({"budget.tokens": 500} if tokens == 500 else {})
    found = written(spec, axes)
    assert (found and found.budget.tokens) == tokens
