"""The transformer's own: names of its weights, and how they begin."""

import math

import pytest
import torch

from scalelab.families import build
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Ffn, Init, Norm

VOCAB, CONTEXT = 260, 16


def test_names_and_shapes_of_the_weights_stay():
    """Saved models and exports rest on them."""
    state = build(
        Transformer(layers=1, heads=4, kv_heads=2, tied=False).resolved(), VOCAB, CONTEXT
    ).state_dict()
    assert {name: tuple(weight.shape) for name, weight in state.items()} == {
        "embedding.weight": (260, 16),
        "layers.0.attention_norm.before.weight": (16,),
        "layers.0.attention.query.weight": (16, 16),
        "layers.0.attention.key_value.weight": (16, 16),
        "layers.0.attention.out.weight": (16, 16),
        "layers.0.ffn_norm.before.weight": (16,),
        "layers.0.ffn.gate_up.weight": (128, 16),
        "layers.0.ffn.down.weight": (16, 64),
        "norm.weight": (16,),
        "output.weight": (260, 16),
    }


@pytest.mark.parametrize(
    ("place", "norms"),
    [
        ("pre", ["before"]),
        ("post", ["sum"]),
        ("peri", ["before", "after"]),
        ("sandwich", ["before", "sum"]),
    ],
)
def test_norms_stand_where_the_spec_says(place, norms: list[str]):
    state = build(
        Transformer(layers=1, norm=Norm(place=place)).resolved(), VOCAB, CONTEXT
    ).state_dict()
    assert [name.split(".")[3] for name in state if "ffn_norm" in name] == norms
    assert ("norm.weight" in state) == (place in ("pre", "peri"))


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (
            Init(kind="normal", std=0.05),
            {"embedding": 0.05, "gate_up": 0.05, "down": 0.05 / 2, "query": 0.05},
        ),
        (
            Init(kind="fan_in"),
            {"embedding": 0.02, "gate_up": 1 / 8, "down": 1 / 16 / 2, "query": 1 / 8},
        ),
        (
            Init(kind="xavier", depth_scaled=False),
            # Gate and up are two matrices of 256 outputs that lie in one.
            {
                "embedding": 0.02,
                "gate_up": math.sqrt(2 / (64 + 256)),
                "down": math.sqrt(2 / (64 + 256)),
                "query": 1 / 8,
            },
        ),
    ],
    ids=["normal", "fan_in", "xavier"],
)
def test_weights_begin_with_the_spread_of_the_spec(init: Init, expected: dict[str, float]):
    model = build(
        Transformer(width=64, ffn=Ffn(ratio=4), init=init).resolved(), VOCAB, CONTEXT
    ).initialise(0)
    weights = {"embedding": model.embedding.weight.detach()} | {
        name.split(".")[-2]: weight.detach()
        for name, weight in model.named_parameters()
        if name.startswith("layers.1") and weight.dim() == 2
    }
    for name, std in expected.items():
        assert float(weights[name].std()) == pytest.approx(std, rel=0.05), name
        assert abs(float(weights[name].mean())) < std / 10


def test_a_model_is_built_on_the_default_device():
    with torch.device("meta"):
        model = build(Transformer().resolved(), VOCAB, CONTEXT).initialise(0)
    assert all(weight.is_meta for weight in [*model.parameters(), *model.buffers()])
