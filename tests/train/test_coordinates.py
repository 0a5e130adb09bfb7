"""muP: activations of wide models move as those of narrow ones do; without it they move more."""

from typing import Any

import pytest

from scalelab.spec.experiment import Trial
from scalelab.train.coordinates import Coordinate, at_width, coordinate_check


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


def test_a_wider_model_has_more_heads_of_the_same_width() -> None:
    wide, narrow = (at_width(trial(kv_heads=1, heads=2).model, factor) for factor in (2, 0.5))
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
    found = Coordinate("logits", {8: 1.0, 16: 2.0, 32: 4.0})
    assert found.slope == pytest.approx(1.0)
    assert found.grows
    assert not Coordinate("logits", {8: 1.0, 16: 1.0}).grows
