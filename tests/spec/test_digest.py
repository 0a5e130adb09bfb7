"""Golden digests: a default or a meaning that changes without a raised `recipe` turns one of these red."""

from typing import Any

import pytest

from scalelab.spec.experiment import Trial

GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({"budget": {"steps": 100}}, "3023c7ec4373d77e9df8012370b8ceb6a3ea4373953ca1ffa1ac7d8e978c64fd"),
    ({"budget": {"steps": 100}, "seed": 1}, "f7e207bdf87fde20b6843f8b0d396c47f4f66bae0d50eb2a92dd13a67ca97f47"),
    (
        {"budget": {"steps": 100}, "task": {"recall": "in_tool", "people": 64, "dependence": 0.5}},
        "104e702e1cacae27bc5970723cc9336ba1e192402349e3209df17815065e9e05",
    ),
    (
        {"budget": {"steps": 100}, "model": {"width": 32, "position": {"kind": "none"}, "norm": {"kind": "layer", "place": "peri"}}},
        "7890fef594e99b210e845e4953a38b96c50d8dfd700d7c2900ff03921b9de501",
    ),
    (
        {"budget": {"steps": 100}, "optim": {"lr": "1e-2", "clip": None, "schedule": {"kind": "wsd"}}, "evaluation": {"stop": {}}},
        "58e58db4865a421e6f2a395d7cac6e34f5bfbc21a551bff6b11e06a58c0af23f",
    ),
]


@pytest.mark.parametrize(("data", "digest"), GOLDEN)
def test_golden(data: dict[str, Any], digest: str) -> None:
    assert Trial.model_validate(data).digest() == digest


def test_a_default_written_down_is_the_same_trial() -> None:
    short = Trial.model_validate({"budget": {"steps": 100}})
    assert Trial.model_validate(short.model_dump()).digest() == short.digest()


def test_two_kinds_with_equal_fields_are_two_trials() -> None:
    trials = [Trial.model_validate({"budget": {"steps": 9}, "model": {"position": {"kind": kind}}}) for kind in ("learned", "none")]
    assert trials[0].digest() != trials[1].digest()
    assert trials[0].identity()["model"]["position"] == {"kind": "learned"}
