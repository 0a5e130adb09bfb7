"""Closed forms against published counts.

Equality with built models is tested for every variant in tests/families.
"""

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.families import build
from scalelab.families.cost import parameters
from scalelab.families.layer_router import model as routers
from scalelab.families.layer_router.cost import mixed
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Ffn, LearnedPositions, Moe, Norm


@pytest.mark.parametrize("width", [4, 8, 12, 16, 64, 128])
def test_the_published_shape_counts_32_d2_and_525_d(width: int):
    """2 layers, 2 heads, swiglu 4x, vocabulary 260, untied (arXiv 2508.20755)."""
    assert (
        parameters(Transformer(width=width).resolved(), 260, 77).total
        == 32 * width**2 + 525 * width
    )


def test_the_default_model_by_groups():
    counted = parameters(Transformer().resolved(), 260, 77)
    assert counted.total == counted.active == 16_592
    assert counted.groups == {
        "embedding": 4160,
        "positions": 0,
        "attention": 2048,
        "ffn": 6144,
        "norm": 80,
        "head": 4160,
    }
    assert counted.non_embedding == counted.by("non_embedding") == 16_592 - 2 * 4160


@pytest.mark.parametrize(("kv_heads", "millions"), [(12, 123.55), (4, 114.11), (1, 110.58)])
def test_the_125m_preset(kv_heads: int, millions: float):
    """12 layers, width 768, hidden 2048, GPT-2's vocabulary, tied: 84.95M of 123.55M stand outside
    the embedding.
    """
    model = Transformer(
        layers=12, width=768, heads=12, kv_heads=kv_heads, ffn=Ffn(width=2048), tied=True
    )
    counted = parameters(model.resolved(), 50_257, 1024)
    assert counted.total / 1e6 == pytest.approx(millions, abs=0.005)
    assert counted.non_embedding == counted.total - 50_257 * 768
    if kv_heads == 12:
        assert counted.non_embedding / 1e6 == pytest.approx(84.95, abs=0.005)


def test_gpt2_without_its_biases():
    """124,439,808 published, of which 102,144 are biases: of the matrices 82,944 and of the norms
    25 x 768, which we keep.
    """
    model = Transformer(
        layers=12,
        width=768,
        heads=12,
        ffn=Ffn(kind="gelu"),
        norm=Norm(kind="layer"),
        position=LearnedPositions(),
        tied=True,
    )
    biases_of_matrices = 12 * (3 * 768 + 768 + 4 * 768 + 768)
    assert parameters(model.resolved(), 50_257, 1024).total == 124_439_808 - biases_of_matrices


@pytest.mark.parametrize(("tied", "rows"), [(True, 1), (False, 2)])
def test_rows_of_tokens_that_never_occur_are_not_used(tied: bool, rows: int):
    counted = parameters(Transformer(tied=tied).resolved(), 260, 77, used=100)
    assert counted.used == counted.by("used") == counted.total - 160 * 16 * rows
    assert counted.as_dict()["used"] == counted.used
    unknown = parameters(Transformer(tied=tied).resolved(), 260, 77)
    assert unknown.used is None
    assert "used" not in unknown.as_dict()


def test_gpt2_small_counts_as_88_million():
    """arXiv 2404.05405: rotary, tied, 3,275 of the 50,256 tokens are used, and biases count there
    and not here.
    """
    model = Transformer(
        layers=12, width=768, heads=12, ffn=Ffn(kind="gelu"), norm=Norm(kind="layer"), tied=True
    ).resolved()
    assert parameters(model, 50_257, 511, used=3275).used == pytest.approx(87.5e6, rel=0.002)
    assert parameters(model, 50_257, 511, used=3275).total == pytest.approx(123.6e6, rel=0.002)


def test_a_mixture_at_the_active_parameters_of_the_125m_preset():
    """GQA with 4 key heads, 1 shared and 31 routed experts, top-7: hidden 298 would give 123.7M
    active and 321M in all.
    """
    moe = Moe(experts=31, chosen=7, shared=1, width=298)
    counted = parameters(
        Transformer(layers=12, width=768, heads=12, kv_heads=4, ffn=moe, tied=True).resolved(),
        50_257,
        1024,
    )
    assert counted.active / 1e6 == pytest.approx(123.69, abs=0.01)
    assert counted.total / 1e6 == pytest.approx(321.4, abs=0.05)
    assert counted.groups["router"] == 12 * 31 * 768
    assert sum(counted.groups.values()) == counted.total


def test_embeddings_of_values_are_no_hidden_parameters():
    plain, with_values = (
        parameters(Transformer(value_embeddings=values).resolved(), 260, 77)
        for values in (False, True)
    )
    assert with_values.total - plain.total == 260 * 16 + 1
    assert with_values.non_embedding - plain.non_embedding == 1


@given(
    width=st.integers(1, 40),
    layers=st.integers(1, 5),
    hidden=st.integers(1, 99),
    tied=st.booleans(),
)
def test_counts_grow_with_every_size(width: int, layers: int, hidden: int, tied: bool):
    def count(width: int, layers: int, hidden: int) -> int:
        model = Transformer(width=4 * width, layers=layers, ffn=Ffn(width=hidden), tied=tied)
        counted = parameters(model.resolved(), 260, 77)
        assert sum(counted.groups.values()) == counted.total >= counted.non_embedding
        return counted.total

    start = count(width, layers, hidden)
    assert start < min(
        count(width + 1, layers, hidden),
        count(width, layers + 1, hidden),
        count(width, layers, hidden + 1),
    )


def router(**changes: Any) -> LayerRouter:
    return LayerRouter.model_validate(
        {"kind": "layer_router", "width": 16, "layers": 3, "identity": 1, "steps": 5} | changes
    ).resolved()


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"policy": "fixed"}, 0),
        ({"policy": "random"}, 0),
        ({"policy": "learned"}, 5 * 4),
        ({}, 16 * 4 + 5 * 16),
        ({"router": {"step_embedding": False}}, 16 * 4),
        ({"policy": "closed", "router": {"kind": "mlp", "width": 10}}, 16 * 10 + 10 * 4 + 5 * 16),
        ({"router": {"kind": "gru", "width": 10}}, 3 * (16 * 10 + 10 * 10) + 10 * 4 + 5 * 16),
        ({"router": {"kind": "lstm", "width": 10}}, 4 * (16 * 10 + 10 * 10) + 10 * 4 + 5 * 16),
        ({"policy": "fixed", "halting": {"kind": "act"}}, 17),
        ({"halting": {"kind": "ponder"}}, 16 * 4 + 5 * 16 + 17),
    ],
)
def test_a_router_over_layers_adds_what_decides_to_a_plain_transformer(
    changes: dict[str, Any], count: int
):
    model = router(**changes)
    counted, plain = parameters(model, 260, 77), parameters(model.plain().resolved(), 260, 77)
    assert (
        counted.groups.get("router", 0)
        == counted.total - plain.total
        == counted.non_embedding - plain.non_embedding
        == count
    )
    with torch.device("meta"):
        assert counted.total == sum(weight.numel() for weight in build(model, 260, 77).parameters())


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({"policy": "fixed", "order": [1, 2, 1, 2, 4]}, 2),
        ({"policy": "closed", "choices": [[1, 4], [1, 4], [2, 4], [2], [1]]}, 2),
        ({"steps": 2}, 2),
        ({"steps": 2, "top": 2}, 3),
        ({"policy": "closed", "choices": [[1], [1], [1], [1], [1, 2, 3]]}, 2),
        ({"policy": "closed", "choices": [[1, 4], [2], [1, 2], [2, 4], [1, 2, 3]]}, 3),
        ({}, 3),
    ],
)
def test_a_token_meets_as_many_layers_as_its_steps_may_choose(changes: dict[str, Any], layers: int):
    model = router(**changes)
    counted = parameters(model, 260, 77)
    layer = (
        parameters(Transformer(width=16, layers=2).resolved(), 260, 77).total
        - parameters(Transformer(width=16, layers=1).resolved(), 260, 77).total
    )
    assert counted.total - counted.active == (3 - layers) * layer


def most_met(model: LayerRouter) -> int:
    """By brute force: parameters of the built model, less the layers that a route leaves out, the
    most over all routes.
    """
    with torch.device("meta"):
        built = build(model, 260, 77)
    assert isinstance(built, routers.LayerRouter)
    sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in built.layers]
    total = sum(weight.numel() for weight in built.parameters())
    routes: set[frozenset[int]] = {frozenset()}
    for layers in model.allowed:
        choices = list(combinations(layers, mixed(model)))
        routes = {route.union(choice) for route in routes for choice in choices}
    return max(
        total - sum(size for layer, size in enumerate(sizes) if layer not in route)
        for route in routes
    )


@st.composite
def routers_over_layers(draw: st.DrawFn) -> LayerRouter:
    layers, identity, steps = (
        draw(st.integers(1, 5)),
        draw(st.integers(0, 2)),
        draw(st.integers(1, 4)),
    )
    pool = st.integers(1, layers + identity)
    policy = draw(st.sampled_from(["fixed", "random", "learned", "closed", "open"]))
    given: dict[str, Any] = {"layers": layers, "identity": identity, "steps": steps}
    fewest = layers + identity
    if policy == "fixed" and draw(st.booleans()):
        given["order"] = draw(st.lists(pool, min_size=steps, max_size=steps))
    if policy == "closed":
        one = st.lists(pool, min_size=1, unique=True)
        given["choices"] = draw(st.lists(one, min_size=steps, max_size=steps))
        fewest = min(map(len, given["choices"]))
    if policy in ("learned", "closed", "open"):
        given["top"] = draw(st.integers(1, min(2, fewest)))
    given["tied"] = draw(st.booleans())
    return LayerRouter.model_validate(
        {"kind": "layer_router", "width": 8, "heads": 2, "policy": policy, **given}
    ).resolved()


@given(model=routers_over_layers())
@settings(deadline=None)
def test_the_active_parameters_are_those_of_the_route_that_meets_most(model: LayerRouter):
    counted = parameters(model, 260, 77)
    assert counted.active == most_met(model)
    if model.num_steps * mixed(model) >= model.layers and model.policy in ("learned", "open"):
        assert counted.active == counted.total


def test_a_pool_of_which_two_layers_are_applied_has_two_active_ones():
    """Of 64 layers, 2 steps: an open pool, and a closed one of which most are never met."""
    for model in (
        router(layers=64, identity=0, steps=2),
        router(
            layers=64, identity=0, steps=3, policy="closed", choices=[[1], [1], [*range(1, 65)]]
        ),
    ):
        counted = parameters(model, 260, 77)
        pool = counted.groups["attention"] + counted.groups["ffn"] + 64 * 2 * 16
        assert counted.total - counted.active == pool * 62 // 64


@pytest.mark.parametrize("tied", [True, False])
def test_an_lstm_has_four_gates_with_two_biases(tied: bool):
    model = Lstm(width=16, layers=3, tied=tied)
    counted = parameters(model, 260, 77, used=100)
    assert counted.groups == {
        "embedding": 4160,
        "recurrent": 3 * (4 * 16 * 32 + 2 * 4 * 16),
        "head": 0 if tied else 4160,
    }
    assert (
        counted.total
        == counted.active
        == counted.non_embedding + counted.groups["embedding"] + counted.groups["head"]
    )
    assert counted.used == counted.total - 160 * 16 * (1 if tied else 2)
    with torch.device("meta"):
        assert counted.total == sum(weight.numel() for weight in build(model, 260, 77).parameters())
