"""The open models' tricks and muP: what each of them does to the numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.families.variants import CONTEXT, VOCAB
from torch import Tensor

from scalelab.families import build
from scalelab.families.transformer.model import Transformer
from scalelab.families.transformer.spec import Transformer as Spec
from scalelab.layers.parameters import roles
from scalelab.layers.spec import Balance, Init, LearnedPositions, Moe, Norm


def fresh(**given: object) -> Transformer:
    return build(Spec.model_validate(given).resolved(), VOCAB, CONTEXT).initialise(0)


def std(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_roles_are_what_the_modules_declare():
    model = fresh(
        value_embeddings=True,
        residual_gains=True,
        embedding_norm=True,
        position=LearnedPositions(),
        norm=Norm(kind="layer"),
        ffn=Moe(width=8),
    )
    expected = {
        "embedding.weight": "embedding",
        "positions.weight": "embedding",
        "embedding_norm.weight": "gain",
        "embedding_norm.bias": "gain",
        "layers.1.attention.value_embedding.weight": "embedding",
        "layers.1.attention.value_gain.weight": "gain",
        "layers.1.attention.query.weight": "matrix",
        "layers.1.own_gain.weight": "gain",
        "layers.1.ffn.router.linear.weight": "router",
        "layers.1.ffn.experts.up.weight": "matrix",
        "norm.bias": "gain",
        "output.weight": "head",
    }
    found = roles(model)
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(("layers", "having"), [(1, [0]), (4, [1, 3]), (5, [0, 2, 4])])
def test_every_second_layer_from_the_last_has_a_value_embedding(layers: int, having: list[int]):
    model = fresh(layers=layers, heads=4, kv_heads=2, value_embeddings=True)
    shapes = {
        name: tuple(weight.shape)
        for name, weight in model.named_parameters()
        if "value_embedding" in name
    }
    assert shapes == {
        f"layers.{layer}.attention.value_embedding.weight": (VOCAB, 2 * 4) for layer in having
    }


def test_gains_begin_as_if_they_were_not_there(tokens_BT: Tensor):
    """The gain of the embedding begins at 0; a value embedding at its own small spread."""
    torch.testing.assert_close(
        fresh(residual_gains=True)(tokens_BT), fresh()(tokens_BT), rtol=0, atol=0
    )
    with_values = fresh(value_embeddings=True)
    difference = (with_values(tokens_BT) - fresh()(tokens_BT)).abs().mean()
    assert 0 < difference < 0.05


def test_the_layers_of_residual_gains_see_the_embedding(tokens_BT: Tensor):
    """With a gain of 0 on what the layer gets and 1 on the embedding, the last layer is all there
    is.
    """
    model = fresh(residual_gains=True, layers=2)
    last = model.layers[1]
    torch.nn.init.zeros_(last.own_gain.weight)
    torch.nn.init.ones_(last.first_gain.weight)
    alone = fresh(layers=1)
    alone.load_state_dict(
        {
            name.replace("layers.1.", "layers.0."): weight
            for name, weight in model.state_dict().items()
            if "gain" not in name and "layers.0." not in name
        }
    )
    torch.testing.assert_close(model(tokens_BT), alone(tokens_BT))


def test_softcap_bounds_the_logits(tokens_BT: Tensor):
    model = fresh(logit_softcap=0.3)
    logits = F.linear(100 * model.trunk(tokens_BT), model.head_weight)
    assert float(logits.detach().abs().max()) > 1
    torch.testing.assert_close(
        model.head(100 * model.trunk(tokens_BT)), 0.3 * torch.tanh(logits / 0.3)
    )


def test_the_embedding_norm_stands_before_the_first_layer(tokens_BT: Tensor):
    model, inputs = fresh(embedding_norm=True, position=LearnedPositions()), []
    model.layers[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(tokens_BT)
    torch.testing.assert_close(
        inputs[0].square().mean(-1), torch.ones(tokens_BT.shape), rtol=0.05, atol=0
    )


def test_dropout_falls_on_training_alone(tokens_BT: Tensor):
    model = fresh(embedding_dropout=0.5, layers=1)
    torch.manual_seed(0)
    first, other = model(tokens_BT), model(tokens_BT)
    torch.manual_seed(0)
    assert torch.equal(model(tokens_BT), first)
    assert not torch.equal(first, other)
    with torch.no_grad():
        assert torch.equal(model(tokens_BT), fresh(layers=1)(tokens_BT))
    model.eval()
    assert torch.equal(model(tokens_BT), model(tokens_BT))


@pytest.mark.parametrize("kind", ["normal", "fan_in"])
def test_mup_draws_hidden_matrices_by_their_fan_in_and_the_head_as_at_the_base_width(kind: str):
    base, wide = (
        fresh(width=width, heads=2, mup=64, init=Init(kind=kind, std=0.1, depth_scaled=False))
        for width in (64, 256)
    )
    plain = fresh(width=64, heads=2, init=Init(kind=kind, std=0.1, depth_scaled=False))
    for name, weight in base.named_parameters():
        assert torch.equal(weight, plain.get_parameter(name)), "at the base width nothing changes"
        if weight.dim() == 2:
            shrinks = roles(base)[name] == "matrix"
            assert std(wide.get_parameter(name)) == pytest.approx(
                std(weight) / (2 if shrinks else 1), rel=0.05
            ), name


def test_mup_scales_logits_and_scores(tokens_BT: Tensor):
    wide = fresh(width=64, heads=2, mup=16)
    x_BTD = wide.trunk(tokens_BT)
    torch.testing.assert_close(wide.head(x_BTD), F.linear(x_BTD, wide.head_weight) / 4)
    plain = fresh(width=64, heads=2)
    plain.load_state_dict(wide.state_dict())
    for layer in plain.layers:
        layer.attention.query.weight.data *= 8 / 32 * math.sqrt(32)
    torch.testing.assert_close(plain.trunk(tokens_BT), x_BTD)


def test_loads_move_the_bias_of_each_layer():
    model = fresh(
        layers=2,
        ffn=Moe(width=8, experts=3, chosen=1, renormalise=False, balance=Balance(bias=0.5)),
    )
    model.rebalance(torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 4.0]]))
    assert [layer.ffn.bias_E.tolist() for layer in model.layers] == [
        [-0.5, 0.5, 0.5],
        [0.5, 0.5, -0.5],
    ]
