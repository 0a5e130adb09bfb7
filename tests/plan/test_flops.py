"""FLOPs by hand. Equality with torch's counter is tested for every variant in tests/families."""

from typing import Any

import pytest

from scalelab.families.cost import forward_flops, parameters
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Ffn


def test_the_smallest_model_by_hand():
    """One layer, one head: width 2, hidden 3, vocabulary 5, four positions of which two are asked
    for.
    """
    model = Transformer(layers=1, width=2, heads=1, ffn=Ffn(kind="gelu", width=3)).resolved()
    keys_and_values = 2 * 4 * (2 * 2 * 2)
    query_and_out = 2 * 2 * (2 * 2 * 2)
    scores_and_mix = 2 * (2 * 4 * 2) * 2
    ffn = 2 * 2 * (2 * 2 * 3)
    head = 2 * 2 * (2 * 5)
    assert (
        forward_flops(model, 5, 4, 2)
        == keys_and_values + query_and_out + scores_and_mix + ffn + head
    )


def test_six_flops_a_parameter_and_token():
    """Kaplan et al. 2020: where the context is short beside the width, training costs 6 N a token
    (N without the embedding).
    """
    model = Transformer(layers=4, width=1024, heads=8).resolved()
    counted = parameters(model, 260, 16)
    per_token = model.train_bounds(260, 16, 16).most / 16
    assert 1 < per_token / (6 * (counted.non_embedding + counted.groups["head"])) < 1.01


def test_positions_that_are_not_asked_for_cost_less():
    model = Transformer().resolved()
    assert forward_flops(model, 260, 77, 38) < 0.75 * forward_flops(model, 260, 77, 77)
    assert model.train_bounds(260, 77, 38).most == 3 * forward_flops(model, 260, 77, 38)


def test_an_lstm_multiplies_by_every_gate_at_every_position():
    model = Lstm(layers=3, width=16)
    assert forward_flops(model, 260, 77, 38) == 2 * 77 * 3 * 4 * 16 * 32 + 2 * 38 * 16 * 260
    assert model.train_bounds(260, 77, 38).is_exact


def router(**changes: Any) -> LayerRouter:
    return LayerRouter.model_validate(
        {"kind": "layer_router", "layers": 3, "width": 16} | changes
    ).resolved()


def test_a_fixed_order_costs_what_its_layers_cost():
    plain = Transformer(layers=3).resolved()
    assert router(policy="fixed").forward_bounds(260, 77, 38) == plain.forward_bounds(260, 77, 38)
    assert router(policy="fixed").train_bounds(260, 77, 38) == plain.train_bounds(260, 77, 38)
    deep = Transformer(layers=5).resolved()
    assert forward_flops(router(policy="fixed", steps=5), 260, 77, 38) == forward_flops(
        deep, 260, 77, 38
    )
    rest = forward_flops(plain, 260, 77, 38) - forward_flops(
        Transformer(layers=2).resolved(), 260, 77, 38
    )
    skipped = forward_flops(router(policy="fixed", identity=1, order=[1, 4, 2]), 260, 77, 38)
    assert skipped == forward_flops(plain, 260, 77, 38) - rest


@pytest.mark.parametrize(
    ("changes", "is_exact"),
    [
        ({}, False),
        ({"policy": "random"}, False),
        ({"granularity": "sequence"}, True),
        ({"granularity": "sequence", "identity": 1}, False),
        ({"policy": "learned"}, True),
        ({"policy": "learned", "selection": {"kind": "gumbel"}}, False),
        ({"policy": "learned", "selection": {"noise": 0.1}}, False),
        ({"selection": {"kind": "soft"}}, True),
        ({"selection": {"kind": "soft"}, "halting": {"kind": "ponder"}}, True),
        ({"selection": {"kind": "soft"}, "halting": {"kind": "act"}}, False),
        ({"policy": "fixed", "halting": {"kind": "threshold"}}, False),
        ({"policy": "fixed", "halting": {"kind": "ponder"}}, True),
    ],
)
def test_training_costs_one_number_where_nothing_depends_on_the_data(
    changes: dict[str, Any], is_exact: bool
):
    bounds = router(**changes).train_bounds(260, 77, 38)
    assert 0 < bounds.least <= bounds.most
    assert bounds.is_exact == is_exact


def test_losses_and_roll_outs_multiply():
    head = 3 * 2 * 38 * 16 * 260
    plain, mean = (
        router(policy="fixed", loss=loss).train_bounds(260, 77, 38) for loss in ("last", "mean")
    )
    assert mean.most - plain.most == 2 * head
    drawn = router(selection={"kind": "gumbel"})
    rolled = router(selection={"kind": "reinforce", "rollouts": 5})
    assert rolled.train_bounds(260, 77, 38) == drawn.train_bounds(260, 77, 38) * 5
    assert rolled.forward_bounds(260, 77, 38) == drawn.forward_bounds(260, 77, 38)
