"""What a trial leaves in the store itself when it ends."""

import json
from typing import Any
from urllib.parse import unquote

import pytest

from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import train

ROUTER = {"kind": "layer_router", "layers": 2, "identity": 1, "width": 8, "heads": 2}


@pytest.mark.parametrize(
    ("model", "noted"), [(ROUTER, {"routes"}), ({"width": 8}, set())], ids=["router", "plain"]
)
def test_a_router_over_layers_leaves_its_routes_and_an_excerpt(
    model: dict[str, Any], noted: set[str]
) -> None:
    task = {"kind": "arithmetic", "operation": "chain", "length": 2}
    made = Trial.model_validate({"task": task, "model": model, "budget": {"steps": 3}, "batch": 8})
    ended = train(made.model_copy(update={"model": made.model.resolved()}), Execution(device="cpu"))
    assert ended.artifacts.keys() == {"weights_sha256"} | noted
    assert {"validation_loss", "accuracy", "flops_per_token"} <= ended.values.keys()
    assert ("route_2_3" in ended.values) == ("order_kept" in ended.values) == bool(noted)
    for name in noted:
        told = json.loads(unquote(ended.artifacts[name].partition(",")[2]))
        assert (told["layers"], told["identity"], told["steps"]) == (2, 1, 2)


def test_facts_leave_none() -> None:
    made = Trial.model_validate(
        {
            "task": {"kind": "facts", "people": 4},
            "model": {"width": 8},
            "budget": {"steps": 1},
            "batch": 4,
        }
    )
    ended = train(made.model_copy(update={"model": made.model.resolved()}), Execution(device="cpu"))
    assert ended.artifacts.keys() == {"weights_sha256"}
