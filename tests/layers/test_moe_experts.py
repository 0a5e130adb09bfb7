"""The ways to compute routed experts, against the definition: values and every gradient."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from scalelab.layers.expert_loop import expert_loop
from scalelab.layers.experts import Experts
from scalelab.layers.parameters import initialise
from scalelab.layers.router import Router, Sent
from scalelab.layers.spec import Activation, Init, Moe

WIDTH, HIDDEN = 16, 24
KINDS = get_args(Activation)
CASES = {
    "usual": Moe(experts=5, chosen=2),
    "all_chosen": Moe(experts=4, chosen=4, gate="softmax"),
    "one_expert": Moe(experts=1, chosen=1),
    "experts_choose": Moe(experts=4, chosen=2, choice="expert", renormalise=False),
    "some_empty": Moe(experts=6, chosen=1, renormalise=False),
}
Way = Callable[[Experts, Tensor, Sent, torch.dtype], Tensor]


def loop(experts: Experts, x_ND: Tensor, sent: Sent, dtype: torch.dtype) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return experts(x_ND, sent)


def grouped(experts: Experts, x_ND: Tensor, sent: Sent, dtype: torch.dtype) -> Tensor:
    return experts.grouped(x_ND, sent, dtype)


def built(kind: Activation, given: Moe) -> Experts:
    experts = Experts(kind, given.experts, WIDTH, HIDDEN)
    initialise(experts, Init(depth_scaled=False), depth=1, seed=3)
    return experts


def routed(given: Moe) -> tuple[Tensor, Sent]:
    """Tokens [2 * 7, D] and a router's rows; where some experts are to stay empty the bias keeps
    tokens from them.
    """
    router = Router(given, WIDTH)
    initialise(router, Init(), depth=1, seed=5)
    x_BTD = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    bias_E = (
        torch.where(torch.arange(given.experts) % 2 == 1, 0.0, 9.0)
        if given.experts == 6
        else torch.zeros(given.experts)
    )
    return x_BTD.flatten(0, 1).requires_grad_(), router.send(router(x_BTD), bias_E)


def gates(sent: Sent, gate_R: Tensor, tokens: int) -> Tensor:
    """The weight of each expert for each token, [N, E], zero where it is not sent."""
    expert_R = torch.bucketize(torch.arange(len(gate_R)), sent.ends_E, right=True)
    return gate_R.new_zeros(tokens, len(sent.ends_E)).index_put((sent.token_R, expert_R), gate_R)


def grads(out_ND: Tensor, experts: Experts, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights_ND = torch.randn(out_ND.shape, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad((out_ND * weights_ND).sum(), (*inputs, *experts.parameters()))


@pytest.mark.parametrize("way", [loop, grouped])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_is_the_reference(kind: Activation, case: Moe, way: Way):
    experts = built(kind, case)
    x_ND, sent = routed(case)
    sent = sent._replace(gate_R=sent.gate_R.detach().requires_grad_())
    expected = experts.reference(x_ND, gates(sent, sent.gate_R, len(x_ND)))
    expected_grads = grads(expected, experts, x_ND, sent.gate_R)
    found = way(experts, x_ND, sent, torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        grads(found, experts, x_ND, sent.gate_R), expected_grads, rtol=1e-4, atol=1e-5
    )
    half = way(experts, x_ND, sent, torch.bfloat16)
    assert half.dtype == torch.float32
    for ours, theirs in zip(
        (half, *grads(half, experts, x_ND, sent.gate_R)), (expected, *expected_grads), strict=True
    ):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=0.03 * float(theirs.detach().abs().max())
        )


@pytest.mark.parametrize("tokens", [33, 64, 100])
def test_rows_that_fill_up_an_expert_change_nothing(tokens: int):
    """In half precision an expert's rows are a multiple of 32."""
    given = Moe(experts=3, chosen=2, renormalise=False)
    experts, router = built("swiglu", given), Router(given, WIDTH)
    initialise(router, Init(), depth=1, seed=5)
    x_1ND = torch.randn(1, tokens, WIDTH, generator=torch.Generator().manual_seed(1))
    sent, x_ND = router.send(router(x_1ND), torch.zeros(3)), x_1ND[0].requires_grad_()
    sent = sent._replace(gate_R=sent.gate_R.detach().requires_grad_())
    found, expected = (way(experts, x_ND, sent, torch.bfloat16) for way in (loop, grouped))
    pairs = zip(
        (found, *grads(found, experts, x_ND, sent.gate_R)),
        (expected, *grads(expected, experts, x_ND, sent.gate_R)),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=0.02 * float(theirs.detach().abs().max())
        )


def test_an_expert_without_tokens_has_no_gradient():
    given = CASES["some_empty"]
    experts = built("swiglu", given)
    x_ND, sent = routed(given)
    assert sent.load_BE[:, 1::2].sum() == 0
    for way in (loop, grouped):
        for grad in grads(way(experts, x_ND, sent, torch.float32), experts):
            assert (grad[1::2] == 0).all()
            assert (grad.flatten(1).abs().sum(1)[::2] > 0).any()


def test_the_loop_is_a_sound_operator():
    """Its schema, its shapes without data and its registered gradient, by PyTorch's own checks."""
    experts = built("swiglu", CASES["usual"])
    x_ND, sent = routed(CASES["usual"])
    weights = (experts.up.weight, experts.down.weight, sent.gate_R.detach().requires_grad_())
    arguments = (x_ND, *weights, sent.token_R, sent.ends_E, "swiglu", torch.float32)
    torch.library.opcheck(
        expert_loop,
        arguments,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_slopes(kind: Activation):
    """In double precision, against differences."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 3), (2, 4 if kind == "swiglu" else 2, 3), (2, 3, 2), (6,))
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    token_R, ends_E = torch.tensor([0, 1, 3, 0, 2, 3]), torch.tensor([3, 6], dtype=torch.int32)
    torch.autograd.gradcheck(
        lambda *x: expert_loop(*x, token_R, ends_E, kind, torch.float64)[0],
        inputs,
        eps=1e-5,
        atol=1e-3,
        rtol=1e-3,
    )
