"""FLOPs by hand. Equality with torch's counter is tested for every variant in tests/models."""

from scalelab.plan.counts import parameters
from scalelab.plan.flops import forward_flops, train_flops
from scalelab.spec.model import Ffn, Transformer


def test_the_smallest_model_by_hand():
    """One layer, one head: width 2, hidden 3, vocabulary 5, four positions of which two are asked for."""
    model = Transformer(layers=1, width=2, heads=1, ffn=Ffn(kind="gelu", width=3)).resolved()
    keys_and_values = 2 * 4 * (2 * 2 * 2)
    query_and_out = 2 * 2 * (2 * 2 * 2)
    scores_and_mix = 2 * (2 * 4 * 2) * 2
    ffn = 2 * 2 * (2 * 2 * 3)
    head = 2 * 2 * (2 * 5)
    assert forward_flops(model, 5, 4, 2) == keys_and_values + query_and_out + scores_and_mix + ffn + head


def test_six_flops_a_parameter_and_token():
    """Kaplan et al. 2020: where the context is short beside the width, training costs 6 N a token (N without the embedding)."""
    model = Transformer(layers=4, width=1024, heads=8).resolved()
    counted = parameters(model, 260, 16)
    per_token = train_flops(model, 260, 16, 16) / 16
    assert 1 < per_token / (6 * (counted.non_embedding + counted.groups["head"])) < 1.01


def test_positions_that_are_not_asked_for_cost_less():
    model = Transformer().resolved()
    assert forward_flops(model, 260, 77, 38) < 0.75 * forward_flops(model, 260, 77, 77)
    assert train_flops(model, 260, 77, 38) == 3 * forward_flops(model, 260, 77, 38)
