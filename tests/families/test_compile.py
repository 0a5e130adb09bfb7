"""Every family compiles in one graph, and again for nothing.

Few are tried each time, with a backend that generates no code; the slow tests take all of them, and
the code generator.
"""

from collections.abc import Iterator

import pytest
import torch
from tests.families.variants import (
    CONTEXT,
    DECODERS,
    LANES,
    VARIANTS,
    made,
    scalar,
    value_and_grads,
)
from torch import Tensor
from torch._dynamo import config

from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.layout import Layout
from scalelab.families.lstm.spec import Lstm

CLOSE = {"rtol": 1e-3, "atol": 1e-3}
COMPILED = [
    name
    for name, given in VARIANTS.items()
    if not isinstance(given, Lstm)
    and not (isinstance(given, LayerRouter) and given.policy != "fixed")
]
"""Code for an LSTM would hold each position, and what a router over layers runs depends on the
tokens: neither is compiled.
"""

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch.compile does that itself


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    with config.patch(error_on_recompile=True):
        yield


@pytest.mark.parametrize(("name", "recompute"), [("default", False), ("mixture_everything", True)])
def test_training_and_evaluation(name: str, recompute: bool, tokens_BT: Tensor, at_BM: Tensor):
    trains(name, recompute, tokens_BT, at_BM, "aot_eager")


@pytest.mark.parametrize("name", ["prefix", "mixture_everything"])
def test_decoding(name: str, tokens_BT: Tensor):
    decodes(name, tokens_BT, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_generated_code_trains(name: str, tokens_BT: Tensor, at_BM: Tensor):
    trains(name, False, tokens_BT, at_BM, "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_recomputation_compiles(name: str, tokens_BT: Tensor, at_BM: Tensor):
    trains(name, True, tokens_BT, at_BM, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPILED if name in DECODERS])
def test_generated_code_decodes(name: str, tokens_BT: Tensor):
    decodes(name, tokens_BT, "inductor")


def trains(name: str, recompute: bool, tokens_BT: Tensor, at_BM: Tensor, backend: str) -> None:
    """Values and gradients, and no second compilation for another batch of the same shape.

    Evaluation has a graph of its own.
    """
    model = made(VARIANTS[name])
    model.recompute = recompute

    def value(tokens_BT: Tensor) -> Tensor:
        return scalar(model.head(model.trunk(tokens_BT, Layout(at_BM))))

    compiled = torch.compile(value, fullgraph=True, dynamic=False, backend=backend)
    for tokens in (tokens_BT, tokens_BT.flip(0), tokens_BT.flip(1)):
        found, found_grads = value_and_grads(model, compiled(tokens))
        expected, grads = value_and_grads(model, value(tokens))
        torch.testing.assert_close(found, expected, **CLOSE)
        torch.testing.assert_close(
            found_grads,
            grads,
            rtol=1e-3,
            atol=1e-4 * max(float(grad.abs().max()) for grad in grads),
        )
    torch._dynamo.reset()
    with torch.no_grad():
        for tokens in (tokens_BT, tokens_BT.flip(0)):
            torch.testing.assert_close(compiled(tokens), value(tokens), **CLOSE)


def decodes(name: str, tokens_BT: Tensor, backend: str) -> None:
    """A prompt, then token after token: two graphs, and no third."""
    model = made(DECODERS[name])
    expected = model(tokens_BT)
    step = torch.compile(model.decode, fullgraph=True, dynamic=False, backend=backend)
    with torch.inference_mode():
        cache, one_B = model.new_cache(LANES, CONTEXT), torch.ones(LANES, dtype=torch.long)
        found = step(tokens_BT[:, :8].clone(), cache, Layout(length_B=8 * one_B))
        torch.testing.assert_close(found, expected[:, :8], **CLOSE)
        torch._dynamo.reset()
        for place in range(8, CONTEXT):
            layout = Layout(length_B=one_B, start_B=place * one_B)
            found = step(tokens_BT[:, place : place + 1].clone(), cache, layout)
            torch.testing.assert_close(found[:, 0], expected[:, place], **CLOSE)
