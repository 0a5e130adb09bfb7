"""The variants that the conformance suite runs on. A new family goes through all of it by being added here."""

import pytest

from scalelab.spec.model import Ffn, Init, LearnedPositions, Model, NoPositions, Norm, Transformer

VOCAB, CONTEXT = 23, 20

VARIANTS: dict[str, Model] = {
    "default": Transformer(),
    "one_layer": Transformer(layers=1, heads=1),
    "deep_gqa": Transformer(layers=3, width=24, heads=6, kv_heads=2),
    "mqa": Transformer(heads=4, kv_heads=1),
    "wide_heads": Transformer(width=12, heads=2, head_width=10, ffn=Ffn(width=24)),
    "gelu_layer_learned": Transformer(ffn=Ffn(kind="gelu"), norm=Norm(kind="layer"), position=LearnedPositions()),
    "relu2_post": Transformer(ffn=Ffn(kind="relu2", ratio=2), norm=Norm(place="post")),
    "peri_qk_norm": Transformer(norm=Norm(place="peri"), qk_norm=True),
    "sandwich_layer_qk_norm": Transformer(norm=Norm(kind="layer", place="sandwich"), qk_norm=True, kv_heads=1),
    "no_positions_tied": Transformer(position=NoPositions(), tied=True, init=Init(kind="xavier")),
    "prefix": Transformer(mask="prefix", init=Init(kind="normal", std=0.3, depth_scaled=False)),
    "prefix_learned_gqa": Transformer(mask="prefix", heads=4, kv_heads=2, position=LearnedPositions()),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request: pytest.FixtureRequest) -> Model:
    """A resolved model spec."""
    return request.param.resolved()


@pytest.fixture
def vocab() -> int:
    """Tokens that the models know."""
    return VOCAB


@pytest.fixture
def context() -> int:
    """Positions that the models run over."""
    return CONTEXT
