"""The loss of a router over layers against its formulas, with readings made by hand.

B sequences, T positions, M targets, S steps, E layers, R roll-outs, D width, V vocabulary.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.families.language_model import Route, RouterOutput
from scalelab.families.layer_router.objective import routed_loss
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, Loss, mean_loss
from scalelab.layers.moe import Routing

VOCAB, WIDTH = 5, 3


class Told(NamedTuple):
    """A model that gives the reading it was made with."""

    config: LayerRouter
    head_weight: Tensor
    reading: RouterOutput
    head_is_product: bool = True

    def run_steps(self, *_: Any) -> RouterOutput:
        return self.reading

    def head(self, x: Tensor) -> Tensor:
        return F.linear(x, self.head_weight)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(), dtype=torch.float64)


def route(log_prob_BT: Tensor, penalty: float = 0.0) -> Route:
    zero = torch.zeros((), dtype=torch.float64)
    routing = Routing(zero + penalty, torch.zeros(2), zero, zero, zero + log_prob_BT.numel())
    return Route(
        torch.zeros(*log_prob_BT.shape, 1, dtype=torch.int64),
        torch.ones(*log_prob_BT.shape, 2),
        log_prob_BT,
        routing,
    )


def reading(final_BMD: Tensor, **changes: Any) -> RouterOutput:
    lanes, length = final_BMD.shape[:2]
    zero = torch.zeros((), dtype=torch.float64)
    return RouterOutput(final_BMD, (), (), (), torch.ones(lanes, length), None, zero, 100)._replace(
        **changes
    )


def loss(given: LayerRouter, made: RouterOutput, batch: Batch, z_loss: bool = False) -> Loss:
    weight_VD = torch.linspace(-2, 2, VOCAB * WIDTH, dtype=torch.float64).view(VOCAB, WIDTH)
    return routed_loss(cast(Any, Told(given, weight_VD, made)), batch, z_loss)


def literal(x_BMD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Nats and squared log-partition of every target, [B, M]."""
    weight_VD = torch.linspace(-2, 2, VOCAB * WIDTH, dtype=torch.float64).view(VOCAB, WIDTH)
    logits_BMV = F.linear(x_BMD, weight_VD).float()
    return F.cross_entropy(logits_BMV.mT, batch.labels_BM, reduction="none"), logits_BMV.logsumexp(
        -1
    ).square()


def batch(sequences: int = 2, length: int = 3, **changes: Any) -> Batch:
    tokens_BS = torch.randint(VOCAB, (sequences, length + 1), generator=generator())
    return Batch(tokens_BS[:, :-1], tokens_BS[:, 1:], **changes)


@pytest.mark.parametrize("padded", [False, True])
def test_steps_that_bear_loss_count_by_their_weights(padded: bool) -> None:
    weights_BM = torch.tensor([[1.0, 1, 0], [1, 0, 0]]) if padded else None
    told, each = batch(weights_BM=weights_BM), [drawn(2, 3, WIDTH) + step for step in range(3)]
    weights = drawn(3, 2, 3).softmax(0)
    found = loss(
        LayerRouter(loss="mean", steps=3),
        reading(each[-1], each_step=each, weights=list(weights)),
        told,
        z_loss=True,
    )
    real_BM = torch.ones(2, 3) if weights_BM is None else weights_BM
    pairs = [literal(x_BMD, told) for x_BMD in each]
    nats = sum(
        (nats_BM * weight_BM * real_BM).sum()
        for (nats_BM, _), weight_BM in zip(pairs, weights, strict=True)
    )
    z = sum(
        (z_BM * weight_BM * real_BM).sum()
        for (_, z_BM), weight_BM in zip(pairs, weights, strict=True)
    )
    torch.testing.assert_close((found.nats, found.z), (nats, z), check_dtype=False)
    assert found.policy is None
    assert found.flops == 300


def test_without_weights_the_last_features_bear_the_loss_alone() -> None:
    told, x_BMD = batch(), drawn(2, 3, WIDTH)
    found = loss(LayerRouter(), reading(x_BMD), told)
    torch.testing.assert_close(found.nats, literal(x_BMD, told)[0].sum(), check_dtype=False)
    assert (found.z, found.policy, found.steps_N, found.flops) == (0, None, None, 300)


def test_penalties_of_the_pass_and_of_its_steps_are_added() -> None:
    made = reading(
        drawn(2, 3, WIDTH),
        penalty=torch.tensor(0.25),
        routes=[route(torch.zeros(2, 3), 0.5), route(torch.zeros(2, 3), 1.0)],
    )
    found = loss(LayerRouter(), made, batch())
    assert found.penalty == 1.75
    assert len(found.routings) == 2
    torch.testing.assert_close(
        mean_loss(found, torch.tensor(6.0), 0.5), found.nats / 6 + 0.5 * 1.75
    )


def test_steps_are_told_where_tokens_may_halt() -> None:
    steps_BT = torch.tensor([[1.0, 2, 2], [2, 1, 1]])
    halting = LayerRouter.model_validate({"kind": "layer_router", "halting": {"kind": "act"}})
    found = loss(halting, reading(drawn(2, 3, WIDTH), steps_BT=steps_BT, cost_BT=steps_BT), batch())
    assert found.steps_N is not None
    assert found.steps_N.tolist() == steps_BT.flatten().tolist()


STEPS, LAYERS, LENGTH = 2, 2, 2
REINFORCE = LayerRouter.model_validate(
    {
        "kind": "layer_router",
        "layers": LAYERS,
        "selection": {"kind": "reinforce", "rollouts": 2, "coefficient": 0.5},
    }
)


def routes() -> Iterator[Tensor]:
    """Every way through the layers, [T, S]."""
    for chosen in product(range(LAYERS), repeat=LENGTH * STEPS):
        yield torch.tensor(chosen).view(LENGTH, STEPS)


def features(chosen_TS: Tensor, *, sees_all: bool) -> Tensor:
    """Features [T, D] that depend on the choices of the tokens that each may see."""
    table = drawn(LENGTH, LAYERS ** (LENGTH * STEPS), WIDTH)
    power_TS = LAYERS ** torch.arange(LENGTH * STEPS).view(LENGTH, STEPS)
    codes = [
        (chosen_TS * power_TS)[: LENGTH if sees_all else place + 1].sum() for place in range(LENGTH)
    ]
    return torch.stack([table[place, code] for place, code in enumerate(codes)])


@pytest.mark.parametrize("targets_BM", [None, torch.tensor([[1]])], ids=["everywhere", "at some"])
@pytest.mark.parametrize("mask", ["causal", "full"])
def test_the_policy_has_the_gradient_of_the_expected_loss(
    mask: str, targets_BM: Tensor | None
) -> None:
    """Exactly: every pair of roll-outs, by its probability."""
    given = REINFORCE.model_copy(update={"mask": mask})
    told = batch(1, LENGTH)
    if targets_BM is not None:
        labels_BM = told.labels_BM.gather(1, targets_BM)
        told = Batch(told.tokens_BT, labels_BM, layout=Layout(targets_BM))
    scores_TSE = drawn(LENGTH, STEPS, LAYERS).requires_grad_()

    def log_prob(chosen_TS: Tensor) -> Tensor:
        return scores_TSE.log_softmax(-1).gather(-1, chosen_TS[..., None])[..., 0]

    def seen(chosen_TS: Tensor) -> Tensor:
        x_TD = features(chosen_TS, sees_all=mask == "full")
        return x_TD if targets_BM is None else x_TD[targets_BM[0]]

    expected_loss = sum(
        log_prob(one).sum().exp() * literal(seen(one)[None], told)[0].sum() for one in routes()
    )
    (exact,) = torch.autograd.grad(cast(Tensor, expected_loss), scores_TSE)
    found = torch.zeros_like(exact)
    for pair in product(routes(), repeat=2):
        log_prob_RTS = torch.stack([log_prob(one) for one in pair])
        made = reading(
            torch.stack([seen(one) for one in pair]),
            routes=[route(log_prob_RTS[..., step]) for step in range(STEPS)],
        )
        lost = loss(given, made, told)
        assert lost.policy is not None
        (gradient,) = torch.autograd.grad(lost.policy, scores_TSE)
        found += log_prob_RTS.sum().exp().detach() * gradient
        torch.testing.assert_close(
            lost.nats,
            sum(literal(seen(one)[None], told)[0].sum() for one in pair) / 2,
            check_dtype=False,
        )
    torch.testing.assert_close(found, 0.5 * exact, rtol=1e-5, atol=1e-7)
    assert exact.abs().max() > 1e-3


def test_under_a_causal_mask_a_choice_is_not_blamed_for_what_came_before() -> None:
    log_prob_RT = torch.zeros(2, LENGTH, dtype=torch.float64, requires_grad=True)
    x_RMD = torch.zeros(2, LENGTH, WIDTH, dtype=torch.float64)
    x_RMD[0, 0] = 1  # the roll-outs differ at the first position alone
    lost = loss(REINFORCE, reading(x_RMD, routes=[route(log_prob_RT)]), batch(1, LENGTH))
    assert lost.policy is not None
    (gradient,) = torch.autograd.grad(lost.policy, log_prob_RT)
    assert (gradient != 0).tolist() == [[True, False]] * 2


def test_one_route_for_a_sequence_is_one_choice() -> None:
    given = REINFORCE.model_copy(update={"granularity": "sequence"})
    choice_R1 = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    x_RMD = drawn(2, LENGTH, WIDTH)
    told = batch(1, LENGTH)
    lost = loss(given, reading(x_RMD, routes=[route(choice_R1.expand(2, LENGTH))]), told)
    nats_R = literal(x_RMD, Batch(told.tokens_BT, told.labels_BM.repeat(2, 1)))[0].sum(1)
    assert lost.policy is not None
    (gradient,) = torch.autograd.grad(lost.policy, choice_R1)
    torch.testing.assert_close(gradient[0, 0], 0.5 * (nats_R[0] - nats_R[1]) / 2, check_dtype=False)
