"""Arms: named alternatives of an experiment, each at every point of its axes."""

from pathlib import Path

import pytest

from scalelab.core.errors import UserError
from scalelab.plan.diff import choose
from scalelab.plan.plan import Plan, compile_plan
from scalelab.spec.load import load

SPEC = """
name: arms
model: {width: 32, heads: 4}
budget: {steps: 10}
arms:
  base: {}
  shared keys: {model.kv_heads: 1, model.ffn.ratio: 5}
  experts: {model.ffn: {kind: moe, experts: 4}}
axes: {optim.lr: [1e-3, 2e-3]}
replicates: 2
"""


def planned(folder: Path, text: str = SPEC, *settings: str) -> Plan:
    path = folder / "arms.yaml"
    path.write_text(text)
    return compile_plan(*load(path, settings))


def test_each_arm_runs_at_every_point(tmp_path: Path) -> None:
    trials = planned(tmp_path).trials
    assert [trial.axes for trial in trials[::2]] == [
        {"arm": arm, "optim.lr": lr}
        for arm in ("base", "shared keys", "experts")
        for lr in (1e-3, 2e-3)
    ]
    assert len({trial.digest for trial in trials}) == 12
    assert [trial.trial.model.kv_heads for trial in trials[::4]] == [4, 1, 4]
    assert [trial.trial.model.ffn.kind for trial in trials[::4]] == ["swiglu", "swiglu", "moe"]


def test_a_filter_chooses_an_arm(tmp_path: Path) -> None:
    chosen = choose(planned(tmp_path), "arm == 'experts'")
    assert {trial.axes["arm"] for trial in chosen.trials} == {"experts"}


def test_the_name_of_an_arm_is_no_part_of_a_trial(tmp_path: Path) -> None:
    renamed = planned(tmp_path, SPEC.replace("shared keys", "MQA"))
    assert [trial.digest for trial in renamed.trials] == [
        trial.digest for trial in planned(tmp_path).trials
    ]


def test_a_setting_reaches_into_an_arm(tmp_path: Path) -> None:
    trials = planned(tmp_path, SPEC, "arms.base.model.kv_heads=2").trials
    assert trials[0].trial.model.kv_heads == 2


def test_a_budget_may_stand_in_the_arms_alone(tmp_path: Path) -> None:
    text = "name: arms\narms: {short: {budget.steps: 5}, long: {budget.steps: 9}}\n"
    assert [trial.steps for trial in planned(tmp_path, text).trials] == [5, 9]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "arms: {a: {model.widht: 3}}",
            (
                r"arms.yaml:3: the arm `a` sets `model.widht`, which is no path of a trial;"
                r" .*model.width"
            ),
        ),
        (
            "arms: {a: {optim.lr: 3}}\naxes: {optim.lr: [1, 2]}",
            r"arms.yaml:3: `optim.lr` is set by the arm `a` and by an axis; keep one",
        ),
        ("arms: [a, b]", r"arms.yaml:3: `arms` maps names to what each sets; write"),
        ("arms: {a: {model.width: wide}}", r"arms.yaml:3: `model.width`: 'wide' is not a number"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        planned(tmp_path, f"name: arms\nbudget: {{steps: 10}}\n{text}\n")


def test_an_arm_that_is_another_arm_is_refused_with_its_line(tmp_path: Path) -> None:
    again = SPEC.replace(
        "  experts: {model.ffn: {kind: moe, experts: 4}}", "  same: {model.heads: 4}"
    )
    with pytest.raises(UserError, match=r"arms\.yaml:8: every trial of the arm `same`"):
        planned(tmp_path, again)
