"""Every family compiles in one graph, and again for nothing. A few are tried each time, with a backend that generates no code; the slow
tests take all of them, and the code generator."""

import pytest
import torch
from torch import Tensor
from torch._dynamo import config

from scalelab.spec.model import Model
from tests.models.variants import CONTEXT, DECODERS, LANES, VARIANTS, made, scalar, value_and_grads

QUICK = ("default", "window_global", "mixture_everything", "prefix_learned_gqa")
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
Choice = dict[str, Model]

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does that itself


def each(variants: Choice) -> pytest.MarkDecorator:
    """The variants, all but a few of them slow."""
    params = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in variants]
    return pytest.mark.parametrize("name", params)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(config, "error_on_recompile", True)


@each(VARIANTS)
@pytest.mark.parametrize("recompute", [False, True])
def test_training_and_evaluation(name: str, recompute: bool, tokens_BT: Tensor, at_BM: Tensor, backend: str = "aot_eager"):
    """Values and gradients, and no second compilation for another batch of the same shape. Evaluation has a graph of its own."""
    model = made(VARIANTS[name])
    model.recompute = recompute
    compiled = torch.compile(
        lambda tokens, at: scalar(model.head(model.trunk(tokens, at_BM=at))), fullgraph=True, dynamic=False, backend=backend
    )
    for tokens in (tokens_BT, tokens_BT.flip(0), tokens_BT.flip(1)):
        found, found_grads = value_and_grads(model, compiled(tokens, at_BM))
        value, grads = value_and_grads(model, scalar(model.head(model.trunk(tokens, at_BM=at_BM))))
        torch.testing.assert_close(found, value, **CLOSE)
        torch.testing.assert_close(found_grads, grads, rtol=1e-3, atol=1e-4 * max(float(grad.abs().max()) for grad in grads))
    torch._dynamo.reset()
    with torch.no_grad():
        for tokens in (tokens_BT, tokens_BT.flip(0)):
            torch.testing.assert_close(compiled(tokens, at_BM), scalar(model.head(model.trunk(tokens, at_BM=at_BM))), **CLOSE)


@each(DECODERS)
def test_decoding(name: str, tokens_BT: Tensor, backend: str = "aot_eager"):
    """A prompt, then token after token: two graphs, and no third."""
    model = made(DECODERS[name])
    expected = model(tokens_BT)
    prompt = torch.compile(model.decode, fullgraph=True, dynamic=False, backend=backend)
    with torch.inference_mode():
        cache, at_B = model.new_cache(LANES, CONTEXT), torch.zeros(LANES, dtype=torch.long)
        found = prompt(tokens_BT[:, :8], at_B, cache, None, torch.full((LANES,), 8))
        torch.testing.assert_close(found, expected[:, :8], **CLOSE)
        torch._dynamo.reset()
        for place in range(8, CONTEXT):
            found = prompt(tokens_BT[:, place : place + 1].clone(), at_B + place, cache, None, torch.ones_like(at_B))
            torch.testing.assert_close(found[:, 0], expected[:, place], **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_generated_code_trains(name: str, tokens_BT: Tensor, at_BM: Tensor):
    test_training_and_evaluation(name, name in QUICK, tokens_BT, at_BM, backend="inductor")


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_generated_code_decodes(name: str, tokens_BT: Tensor):
    test_decoding(name, tokens_BT, backend="inductor")
