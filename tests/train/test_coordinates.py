"""muP: activations of wide models move as those of narrow ones do; without it they move more, and
with too small learning rates less.
"""

import math
from typing import Any

import pytest

from scalelab.spec.experiment import Trial
from scalelab.train.coordinates import Coordinate, coordinate_check


def trial(**model: Any) -> Trial:
    made = Trial.model_validate(
        {
            "task": {"people": 16, "templates": 1},
            "model": {"width": 32, "heads": 2, "layers": 2} | model,
            "budget": {"steps": 5},
            "optim": {"lr": 1e-2},
        }
    )
    return made.model_copy(update={"model": made.model.resolved()})


def slopes(of: Trial) -> dict[str, float]:
    return {found.name: found.slope for found in coordinate_check(of, factors=(1, 2, 4, 8))}


def test_under_mup_nothing_grows_with_the_width_and_without_it_layers_do() -> None:
    flat, steep = slopes(trial(mup=32)), slopes(trial())
    assert (
        flat.keys()
        == steep.keys()
        == {
            "embedding",
            "logits",
            *(f"layers.{n}.{part}" for n in (0, 1) for part in ("attention", "ffn")),
        }
    )
    assert max(flat.values()) < 0.25
    assert min(steep[f"layers.{layer}.ffn"] for layer in (0, 1)) > 0.5
    assert steep["logits"] > 0.5


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
def test_muon_is_flat_under_mup(scaling: str) -> None:
    given = trial(mup=32)
    optim = {"kind": "muon", "scaling": scaling, "lr": 0.02 if scaling == "original" else 0.005}
    given = given.model_copy(
        update={"optim": Trial.model_validate({"budget": {"steps": 1}, "optim": optim}).optim}
    )
    assert max(slopes(given).values()) < 0.25


@pytest.mark.parametrize(
    ("optim", "model"),
    [
        ({"lr": 1e-3}, {"tied": True}),
        ({"kind": "muon", "scaling": "match_rms_adamw", "lr": 0.005}, {"qk_norm": True}),
        ({"lr": 3e-3}, {"ffn": {"kind": "moe", "experts": 4}}),
    ],
)
def test_under_mup_weights_of_every_width_move_what_they_give(
    optim: dict[str, Any], model: dict[str, Any]
) -> None:
    found = coordinate_check(optimised(trial(mup=32, **model), optim))
    assert not any(one.grows or one.vanishes for one in found)
    assert min(one.own_slope for one in found) > -0.5


def optimised(of: Trial, optim: dict[str, Any]) -> Trial:
    made = Trial.model_validate({"budget": {"steps": 1}, "optim": optim})
    return of.model_copy(update={"optim": made.optim})


def test_updates_that_shrink_with_the_gradients_of_wide_models_vanish() -> None:
    """Under muP a hidden gradient goes as 1 / width. An eps that drowns it takes AdamW's scaling
    away, and then the learning rate goes as 1 / width once more.
    """
    drowned = optimised(trial(mup=32), {"eps": 1.0, "weight_decay": 0.0})
    found = {one.name: one for one in coordinate_check(drowned)}
    assert not any(one.grows for one in found.values())
    assert found["layers.0.ffn"].vanishes
    assert not any(one.vanishes for one in coordinate_check(trial(mup=32)))


def test_what_blows_up_grows_and_what_does_not_move_vanishes() -> None:
    blown = coordinate_check(optimised(trial(mup=32), {"lr": 1e30}), factors=(1, 2), seeds=1)
    assert all(one.grows for one in blown if one.name != "embedding")
    still = coordinate_check(optimised(trial(mup=32), {"lr": 1e-30}), factors=(1, 2), seeds=1)
    assert all(one.vanishes and not one.grows for one in still)
    assert all(math.isfinite(one.slope) for one in still)


@pytest.mark.parametrize(
    "model", [{"kind": "lstm", "width": 16}, {"kind": "layer_router", "width": 16, "heads": 2}]
)
def test_every_family_is_examined(model: dict[str, Any]) -> None:
    made = Trial.model_validate(
        {"task": {"people": 4, "templates": 1}, "model": model, "budget": {"steps": 2}}
    )
    resolved = made.model_copy(update={"model": made.model.resolved()})
    found = coordinate_check(resolved, factors=(1, 2), steps=2, seeds=1)
    assert [one.name for one in found] == ["embedding", "logits"]
    assert all(one.own[16] > 0 for one in found)


def test_a_wider_model_has_more_heads_of_the_same_width() -> None:
    wide, narrow = (trial(kv_heads=1, heads=2).model.scaled(factor) for factor in (2, 0.5))
    assert (wide.width, wide.heads, wide.kv_heads, wide.head_width, wide.ffn.width) == (
        64,
        4,
        2,
        16,
        256,
    )
    assert (narrow.width, narrow.heads, narrow.kv_heads, narrow.head_width, narrow.ffn.width) == (
        16,
        2,
        1,
        8,
        64,
    )
    assert wide.resolved() == wide


def test_a_slope_is_a_power_of_the_width() -> None:
    up, flat, down = {8: 1.0, 16: 2.0, 32: 4.0}, {8: 1.0, 16: 1.0}, {8: 4.0, 16: 2.0, 32: 1.0}
    found = Coordinate("logits", up, down)
    assert (found.slope, found.own_slope) == pytest.approx((1.0, -1.0))
    assert (found.grows, found.vanishes) == (True, True)
    level = Coordinate("logits", flat, flat)
    assert (level.grows, level.vanishes) == (False, False)
    # Under muP a random head's part of the change falls as width^-1/2.
    assert not Coordinate("logits", {8: 2.0, 32: 1.0}, flat).vanishes
    assert Coordinate("logits", flat, {8: 1.0, 16: 0.0}).vanishes
    assert Coordinate("logits", {8: 1.0, 16: math.nan}, flat).grows
    assert found.as_dict() == {
        "name": "logits",
        "moved": up,
        "own": down,
        "slope": found.slope,
        "own_slope": found.own_slope,
        "grows": True,
        "vanishes": True,
    }
