"""Our models against those of the transformers library: logits, loss and every gradient.

The models are in references.py. Everything is computed in fp32 on the CPU, with random weights.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.families.reference_weights import WIDTH, Map, made_of
from tests.families.references import CONTEXT, MIXTURES, MODELS, VOCAB
from torch import Tensor, nn

from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, mean_loss, summed_loss
from scalelab.families.transformer.model import Transformer
from scalelab.layers.moe import Moe

pytestmark = pytest.mark.slow  # transformers takes seconds to import

CLOSE = 2e-5
"""Largest difference allowed, as a share of the tensor's largest value. Measured: at most 6e-6."""
LANES, PROMPT = 3, 13


@pytest.fixture(scope="module", autouse=True)
def _no_torchvision() -> Iterator[None]:
    """Transformers imports torchvision where it finds one, which fails beside a CPU build of
    torch.
    """
    pytest.importorskip("transformers", exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch:
        if "torchvision" not in sys.modules:
            patch.setattr("transformers.utils.import_utils._torchvision_available", False)
        yield


@pytest.fixture(params=[0, 2**24], ids=["fused", "by_hand"])
def _scores_by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalelab.layers.attention.DENSE", request.param)


@pytest.fixture
def text_BT() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, VOCAB, (LANES, CONTEXT + 1), generator=generator)


def draw(theirs: nn.Module) -> None:
    """Weights in which everything tells; biases of matrices, which ours lack, are zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.2, generator=generator)
            elif "norm" in name or "ln_" in name:
                weight += 0.2 * torch.randn(weight.shape, generator=generator)
            else:
                weight.zero_()


def model(name: str) -> tuple[Any, Transformer, dict[str, Tensor]]:
    """Theirs, ours with the same weights, and our weights as made of theirs."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family, options, given, weights = MODELS[name]
    config = AutoConfig.for_model(family, **options)
    theirs = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    draw(theirs)
    ours = Transformer(given.resolved(), VOCAB, CONTEXT)
    return theirs, ours, copied(theirs, ours, weights)


def mixture(name: str) -> tuple[nn.Module, Moe, dict[str, Tensor]]:
    """A mixture block of theirs, ours with the same weights, and our weights as made of theirs."""
    from transformers import AutoConfig

    family, block, options, given, weights = MIXTURES[name]
    module: Any = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    theirs = getattr(module, block)(AutoConfig.for_model(family, **options))
    draw(theirs)
    ours = Moe(given, WIDTH)
    made = copied(theirs, ours, weights)
    if given.gate == "sigmoid":  # a bias that changes many choices
        ours.bias_E.copy_(torch.linspace(0.15, -0.15, given.experts))
        theirs.gate.e_score_correction_bias.copy_(ours.bias_E)
    return theirs, ours, made


def copied(theirs: nn.Module, ours: nn.Module, weights: Map) -> dict[str, Tensor]:
    """Our weights as made of theirs, copied into our module."""
    made = made_of(theirs, ours, weights)
    ours.load_state_dict({**ours.state_dict(), **made})
    return made


def assert_close(found: Tensor, expected: Tensor, name: str) -> None:
    """No value differs by more than `CLOSE` of the largest one."""
    atol = CLOSE * float(expected.detach().abs().max())
    torch.testing.assert_close(
        found, expected, rtol=0, atol=atol, msg=lambda text: f"{name}: {text}"
    )


def assert_same_gradients(theirs: nn.Module, ours: nn.Module, made: Mapping[str, Tensor]) -> None:
    """After a backward pass of both: our gradients, pulled back to their parameters, are theirs."""
    our_grads = {name: weight.grad for name, weight in ours.named_parameters()}
    assert made.keys() == our_grads.keys()
    parameters = dict(theirs.named_parameters())
    pulled_back = torch.autograd.grad(
        list(made.values()),
        list(parameters.values()),
        [our_grads[name] for name in made],
        allow_unused=True,
    )
    for (name, weight), found in zip(parameters.items(), pulled_back, strict=True):
        if found is None:
            assert not weight.any(), f"{name} is not copied"
        else:
            # An expert that no token chose has no gradient in theirs, and zero in ours.
            expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
            assert_close(found, expected, name)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("_scores_by_hand")
def test_a_model_has_their_logits_loss_and_gradients(name: str, text_BT: Tensor):
    theirs, ours, made = model(name)
    tokens_BT, labels_BT = text_BT[:, :-1], text_BT[:, 1:]
    expected = theirs(tokens_BT)
    assert_close(ours(tokens_BT), expected.logits, "logits")
    targets = torch.tensor(labels_BT.numel())
    loss = mean_loss(summed_loss(ours, Batch(tokens_BT, labels_BT)), targets, share=1)
    their_loss = F.cross_entropy(expected.logits.flatten(0, 1), labels_BT.flatten())
    if "aux_loss" in expected:
        their_loss = their_loss + theirs.config.router_aux_loss_coef * expected.aux_loss
    assert_close(loss, their_loss, "loss")
    loss.backward()
    their_loss.backward()
    assert_same_gradients(theirs, ours, made)


@pytest.mark.parametrize("name", MODELS)
def test_decoding_with_a_cache_has_their_logits(name: str, text_BT: Tensor):
    """A prompt that is longer than any window in one call, then one token a call."""
    theirs, ours, _ = model(name)
    tokens_BT = text_BT[:, :-1]
    with torch.inference_mode():
        expected = theirs(tokens_BT).logits
        cache = ours.new_cache(LANES, CONTEXT)
        calls, start = [], 0
        for size in (PROMPT, *[1] * (CONTEXT - PROMPT)):
            chunk_BT = tokens_BT[:, start : start + size]
            calls.append(ours.decode(chunk_BT, cache, Layout(start_B=torch.full((LANES,), start))))
            start += size
    assert_close(torch.cat(calls, dim=1), expected, "logits")


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_has_their_output_and_gradients(name: str):
    theirs, ours, made = mixture(name)
    generator = torch.Generator().manual_seed(3)
    x_BTD, by_BTD = torch.randn(2, LANES, CONTEXT, WIDTH, generator=generator)
    x_BTD.requires_grad_()
    their_x_BTD = x_BTD.detach().clone().requires_grad_()
    found, expected = ours(x_BTD)[0], theirs(their_x_BTD)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close(found, expected, "output")
    (found * by_BTD).sum().backward()
    (expected * by_BTD).sum().backward()
    assert x_BTD.grad is not None
    assert their_x_BTD.grad is not None
    assert_close(x_BTD.grad, their_x_BTD.grad, "input")
    assert_same_gradients(theirs, ours, made)
