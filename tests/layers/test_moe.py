"""The mixture as a layer: against its definition, and what it says of its routing."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scalelab.layers import spec
from scalelab.layers.moe import Moe, Routing
from scalelab.layers.parameters import initialise
from scalelab.layers.spec import Balance, Init

WIDTH, LANES, LENGTH = 16, 2, 7
VARIANTS = {
    "deepseek": spec.Moe(
        experts=6,
        chosen=2,
        width=8,
        scale=2.5,
        balance=Balance(bias=0.001, loss=1e-2, per="sequence"),
    ),
    "mixtral": spec.Moe(
        expert="gelu",
        experts=4,
        chosen=2,
        shared=0,
        width=24,
        gate="softmax",
        balance=Balance(loss=0.01, z_loss=1e-3),
    ),
    "sigma": spec.Moe(
        expert="relu2",
        experts=5,
        chosen=3,
        shared=2,
        width=8,
        renormalise=False,
        balance=Balance(entropy=0.01),
    ),
    "expert_choice": spec.Moe(
        experts=4, chosen=1, width=8, choice="expert", gate="softmax", renormalise=False
    ),
}


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def moe(request: pytest.FixtureRequest) -> Moe:
    return built(request.param)


def built(given: spec.Moe, width: int = WIDTH, init: Init = Init()) -> Moe:  # noqa: B008
    module = Moe(given, width)
    initialise(module, init, depth=3, seed=11)
    return module


def tokens(lanes: int = LANES, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.randn(
        lanes, length, WIDTH, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


def literal(moe: Moe, x_BTD: Tensor) -> Tensor:
    """Shared experts, and every routed expert on every token, by its gate (DeepSeek-V3, equations
    12 to 16).
    """
    given, experts = moe.config, moe.config.experts
    logits_BTE = x_BTD @ moe.router.linear.weight.t()
    score_BTE = logits_BTE.softmax(-1) if given.gate == "softmax" else logits_BTE.sigmoid()
    if given.choice == "token":
        taken_BTE = F.one_hot((score_BTE + moe.bias_E).topk(given.chosen).indices, experts).sum(-2)
    else:
        capacity = math.ceil(x_BTD.shape[1] * given.chosen / experts)
        taken_BTE = torch.zeros_like(score_BTE).scatter(
            1, score_BTE.topk(capacity, dim=1).indices, 1.0
        )
    gate_BTE = score_BTE * taken_BTE
    if given.renormalise:
        gate_BTE = gate_BTE / gate_BTE.sum(-1, keepdim=True)
    routed_ND = moe.experts.reference(x_BTD.flatten(0, 1), given.scale * gate_BTE.flatten(0, 1))
    return routed_ND.unflatten(0, x_BTD.shape[:2]) + (
        0 if moe.shared is None else moe.shared(x_BTD)
    )


def grads(value: Tensor, moe: Moe, x_BTD: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, (x_BTD, *moe.parameters()))


def scalar(out: tuple[Tensor, Routing]) -> Tensor:
    out_BTD, routing = out
    return (
        out_BTD * torch.arange(out_BTD.numel()).reshape(out_BTD.shape).sin()
    ).sum() + routing.penalty


def test_it_is_its_definition(moe: Moe):
    """Values and all gradients, the router's too, which flow through the gates."""
    x_BTD = tokens()
    out_BTD, routing = moe(x_BTD)
    expected_BTD = literal(moe, x_BTD)
    torch.testing.assert_close(out_BTD, expected_BTD, rtol=1e-4, atol=1e-5)
    found = grads(scalar((out_BTD, routing._replace(penalty=torch.zeros(())))), moe, x_BTD)
    expected = grads(scalar((expected_BTD, routing._replace(penalty=torch.zeros(())))), moe, x_BTD)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_what_it_says_of_its_routing(moe: Moe):
    _, routing = moe(tokens())
    given = moe.config
    taken = (
        given.chosen * LANES * LENGTH
        if given.choice == "token"
        else given.experts * LANES * math.ceil(LENGTH * given.chosen / given.experts)
    )
    assert routing.load_E.dtype == torch.float32
    assert float(routing.load_E.sum()) == taken
    assert 0 < float(routing.entropy) <= math.log(given.experts) + 1e-6
    assert not routing.entropy.requires_grad
    assert 0 <= float(routing.dropped) <= (0 if given.choice == "token" else LANES * LENGTH - 1)
    assert routing.penalty.shape == ()


def test_micro_batches_add_up(moe: Moe):
    """The loads of micro-batches sum to the load of the whole, and their outputs are the same."""
    x_BTD = tokens()
    whole_BTD, whole = moe(x_BTD)
    parts = [moe(lane_1TD) for lane_1TD in x_BTD.split(1)]
    torch.testing.assert_close(
        torch.cat([out for out, _ in parts]), whole_BTD, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        torch.stack([routing.load_E for _, routing in parts]).sum(0), whole.load_E
    )


def test_activation_checkpointing_counts_nothing_twice(moe: Moe):
    x_BTD, state = tokens(), {name: tensor.clone() for name, tensor in moe.state_dict().items()}
    plain = moe(x_BTD)
    again = checkpoint(moe, x_BTD, use_reentrant=False)
    assert isinstance(again, tuple)
    torch.testing.assert_close(grads(scalar(again), moe, x_BTD), grads(scalar(plain), moe, x_BTD))
    assert torch.equal(again[1].load_E, plain[1].load_E)
    assert all(torch.equal(tensor, state[name]) for name, tensor in moe.state_dict().items())


def test_one_token_is_routed_as_in_its_sequence(moe: Moe):
    """What decoding does. Where experts choose it is not so: that is their leak."""
    x_BTD = tokens()
    whole_BTD, _ = moe(x_BTD)
    alone_BTD = torch.cat([moe(token_B1D)[0] for token_B1D in x_BTD.split(1, dim=1)], dim=1)
    assert torch.allclose(whole_BTD, alone_BTD, rtol=1e-4, atol=1e-5) == (
        moe.config.choice == "token"
    )


def test_only_experts_that_choose_look_ahead(moe: Moe):
    x_BTD = tokens(length=12).detach()
    later_BTD = x_BTD.clone()
    later_BTD[:, 6:] = tokens(length=12, seed=5).detach()[:, 6:]
    assert torch.allclose(moe(x_BTD)[0][:, :6], moe(later_BTD)[0][:, :6], atol=1e-5) == (
        moe.config.choice == "token"
    )


def test_parameters_are_as_the_plan_counts_them(moe: Moe):
    given = moe.config
    assert isinstance(given.width, int)
    network = (3 if given.expert == "swiglu" else 2) * WIDTH * given.width
    assert (
        sum(parameter.numel() for parameter in moe.parameters())
        == (given.shared + given.experts) * network + given.experts * WIDTH
    )


def test_weights_begin_by_the_fan_in_of_an_expert():
    moe = built(spec.Moe(experts=16, chosen=2, shared=0, width=64))
    assert float(moe.experts.up.weight.detach().std()) == pytest.approx(WIDTH**-0.5, rel=0.03)
    assert float(moe.experts.down.weight.detach().std()) == pytest.approx(
        (64 * 2 * 3) ** -0.5, rel=0.03
    )  # depth-scaled
    xavier = built(spec.Moe(experts=16, chosen=2, width=64), init=Init(kind="xavier"))
    assert float(xavier.experts.up.weight.detach().abs().max()) == pytest.approx(
        math.sqrt(6 / (WIDTH + 64)), rel=0.01
    )
    assert not torch.equal(moe.experts.up.weight[0], moe.experts.up.weight[1])
    assert torch.equal(
        moe.experts.up.weight, built(moe.config.model_copy(update={"shared": 2})).experts.up.weight
    )


def test_the_bias_is_saved_and_not_trained():
    moe = built(VARIANTS["deepseek"])
    moe.rebalance(torch.tensor([3.0, 0.0, 1.0, 1.0, 1.0, 0.0]))
    assert "bias_E" not in dict(moe.named_parameters())
    other = built(VARIANTS["deepseek"])
    other.load_state_dict(moe.state_dict())
    assert torch.equal(other.bias_E, moe.bias_E)
    assert moe.bias_E.any()


@pytest.mark.parametrize("where", ["router", "token"])
def test_nan_comes_out_as_nan(moe: Moe, where: str):
    """So the loss is NaN and the trial ends as diverged."""
    x_BTD = tokens()
    with torch.no_grad():
        (moe.router.linear.weight if where == "router" else x_BTD)[0, 0] = math.nan
    out_BTD, routing = moe(x_BTD)
    assert out_BTD.isnan().any()
    scalar((out_BTD, routing)).backward()
    moe.rebalance(routing.load_E)
    assert moe.bias_E.isfinite().all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_compiles_in_one_graph_without_recompiling(moe: Moe, precision: str):
    compiles_like_eager(moe, precision, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_code_computes_the_same(moe: Moe, precision: str):
    compiles_like_eager(moe, precision, "inductor")


def compiles_like_eager(moe: Moe, precision: str, backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda x_BTD: moe(x_BTD), fullgraph=True, backend=backend)
    rtol, atol = (1e-4, 1e-5) if precision == "fp32" else (0.02, 0.02)
    for seed in range(3):  # other tokens, other loads, same graph
        x_BTD = tokens(seed=seed)
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
            torch._dynamo.config.patch(error_on_recompile=True),
        ):
            found, expected = compiled(x_BTD), moe(x_BTD)
        torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=atol)
        torch.testing.assert_close(found[1], expected[1])
        for ours, theirs in zip(
            grads(scalar(found), moe, x_BTD), grads(scalar(expected), moe, x_BTD), strict=True
        ):
            scale = max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=rtol, atol=atol)
