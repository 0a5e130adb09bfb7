"""What a step's choice tells and costs: loads, penalties of the balance, its bias, and the likeness
of layers.
"""

from collections.abc import Mapping

import pytest
import torch
from tests.families.choosers import (
    LANES,
    LENGTH,
    POOL,
    STEPS,
    Given,
    built,
    choices,
    hard,
    of,
    part_of,
    states,
)
from torch import Tensor, nn

from scalelab.families.language_model import Route
from scalelab.families.layer_router.chooser import Chooser
from scalelab.families.layer_router.objective import similarity
from scalelab.families.layer_router.routed_forward import to_route

EVERYTHING = {"loss": 0.3, "entropy": 0.2, "z_loss": 0.1}


def alive(lanes: int = LANES) -> Tensor:
    """Most tokens; in the last lane none."""
    alive_BT = torch.rand(lanes, LENGTH, generator=torch.Generator().manual_seed(5)) < 0.7
    alive_BT[-1] = False
    return alive_BT


def everybody(lanes: int = LANES) -> Tensor:
    return torch.ones(lanes, LENGTH, dtype=torch.bool)


def routes(chooser: Chooser, alive_BT: Tensor) -> list[Route]:
    return [
        to_route(chooser.config, choice, alive_BT)
        for choice in choices(chooser, states(len(alive_BT)))
    ]


def number(x: Tensor) -> float:
    return float(x.detach())


def uneven(shares: list[list[float]], chosen: list[int], layers: int) -> float:
    """Switch, equations 4 to 6, written out."""
    load = [chosen.count(layer) / len(chosen) for layer in range(layers)]
    mean = [sum(row[layer] for row in shares) / len(shares) for layer in range(layers)]
    return layers * sum(f * p for f, p in zip(load, mean, strict=True))


def test_a_route_tells_of_the_tokens_that_are_alive():
    chooser, alive_BT = built(of("open", selection="reinforce")), alive()
    for choice, route in zip(choices(chooser, states()), routes(chooser, alive_BT), strict=True):
        assert route.chosen_BTK[~alive_BT].eq(-1).all()
        assert torch.equal(route.chosen_BTK[alive_BT], choice.chosen_BTK[alive_BT])
        assert route.log_prob_BT[~alive_BT].eq(0).all()
        assert torch.equal(route.log_prob_BT[alive_BT], choice.log_prob_BT[alive_BT])
        assert (
            route.routing.load_E.tolist()
            == torch.bincount(choice.chosen_BTK[alive_BT].flatten(), minlength=POOL).tolist()
        )
        entropy = torch.special.entr(choice.probability_BTE[alive_BT]).sum(-1).mean()
        torch.testing.assert_close(route.routing.entropy, entropy.detach())
        assert float(route.routing.tokens) == alive_BT.sum()
        assert float(route.routing.dropped) == 0


def test_the_load_counts_all_layers_of_a_mixture_and_the_best_of_a_soft_one():
    mixed, soft = built(of("open", top=2)), built(of("open", selection="soft"))
    assert all(
        float(route.routing.load_E.sum()) == 2 * LANES * LENGTH
        for route in routes(mixed, everybody())
    )
    for route, choice in zip(routes(soft, everybody()), hard(soft, states()), strict=True):
        assert (
            route.routing.load_E.tolist()
            == torch.bincount(choice.chosen_BTK.flatten(), minlength=POOL).tolist()
        )


@pytest.mark.parametrize("identity", [True, False])
def test_the_loss_is_switchs_over_the_layers_that_are_counted(identity: bool):
    chooser = built(of("open", balance={"loss": 0.5, "identity": identity}))
    for choice, route in zip(choices(chooser, states()), routes(chooser, everybody()), strict=True):
        counted = POOL if identity else POOL - 1
        rows = choice.probability_BTE.flatten(0, 1).tolist()
        shares = [[p / sum(row[:counted]) for p in row[:counted]] for row in rows]
        chosen = [layer for layer in choice.chosen_BTK.flatten().tolist() if layer < counted]
        assert number(route.routing.penalty) == pytest.approx(
            0.5 * uneven(shares, chosen, counted), rel=1e-5
        )


@pytest.mark.parametrize("identity", [True, False])
def test_only_counted_layers_are_pulled(identity: bool):
    chooser = built(of("learned", balance={"loss": 1.0, "entropy": 1.0, "identity": identity}))
    assert chooser.learned is not None
    nn.init.normal_(chooser.learned.weight, generator=torch.Generator().manual_seed(0))
    sum(
        (route.routing.penalty for route in routes(chooser, everybody())), torch.zeros(())
    ).backward()
    grad_SE = chooser.learned.weight.grad
    assert grad_SE is not None
    assert grad_SE[:, :3].abs().min() > 0
    assert bool(grad_SE[:, 3].any()) == identity


def test_a_closed_step_is_balanced_over_its_own_layers():
    """Where one layer may be chosen, and where identity layers alone may, there is nothing to even
    out.
    """
    chooser = built(
        of("closed", choices=[[1, 3], [2], [4]], balance={"loss": 1.0, "entropy": 1.0, "bias": 0.1})
    )
    first, second, third = (route.routing.penalty for route in routes(chooser, everybody()))
    choice = choices(chooser, states())[0]
    shares = choice.probability_BTE[..., [0, 2]].flatten(0, 1)
    expected = uneven(
        shares.tolist(), choice.chosen_BTK.flatten().div(2, rounding_mode="floor").tolist(), 2
    )
    assert number(first) == pytest.approx(
        expected - number(torch.special.entr(shares.mean(0)).sum()), rel=1e-5
    )
    assert (number(second), number(third)) == pytest.approx((1, 0), abs=1e-6)
    chooser.rebalance(torch.tensor([[9.0, 0, 1, 0], [0, 9, 0, 0], [0, 0, 0, 9]]))
    torch.testing.assert_close(
        chooser.bias_SE, torch.tensor([[-0.1, 0, 0.1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    )


@pytest.mark.parametrize(
    "extra", [{"loss": 0.3}, {"loss": 0.3, "per": "sequence"}, {"entropy": 0.2}]
)
def test_tokens_that_halted_move_no_penalty_of_the_load(extra: Mapping[str, object]):
    chooser, alive_BT = built(of("open", balance=extra)), everybody()
    alive_BT[:, LENGTH // 2 :] = False
    for choice, route in zip(choices(chooser, states()), routes(chooser, alive_BT), strict=True):
        short = part_of(choice, slice(None), slice(LENGTH // 2))
        expected = to_route(chooser.config, short, everybody()[:, : LENGTH // 2]).routing.penalty
        torch.testing.assert_close(route.routing.penalty, expected)


def test_the_z_loss_is_of_all_layers_and_a_halted_token_costs_none():
    chooser, alive_BT = built(of("open", balance={"z_loss": 0.1})), alive()
    for choice, route in zip(choices(chooser, states()), routes(chooser, alive_BT), strict=True):
        z_BT = choice.logits_BTE.exp().sum(-1).log().square()
        torch.testing.assert_close(route.routing.penalty, 0.1 * (z_BT * alive_BT).mean())


@pytest.mark.parametrize("per", ["batch", "sequence"])
@pytest.mark.parametrize("granularity", ["token", "sequence"])
def test_where_nobody_is_alive_all_is_finite_and_nothing_pulls(per: str, granularity: str):
    given = of("open", granularity=granularity, balance={**EVERYTHING, "per": per})
    chooser, length = built(given), 1 if granularity == "sequence" else LENGTH
    choice = choices(chooser, states(length=length))[0]
    routing = to_route(chooser.config, choice, torch.zeros(LANES, LENGTH, dtype=torch.bool)).routing
    assert [number(part.sum()) for part in routing] == [0, 0, 0, 0, 0]
    routing.penalty.backward()
    assert all(weight.grad is None or weight.grad.eq(0).all() for weight in chooser.parameters())


@pytest.mark.parametrize("per", ["batch", "sequence"])
@pytest.mark.parametrize("granularity", ["token", "sequence"])
@pytest.mark.parametrize(
    "extra", [{"loss": 0.3}, {"loss": 0.3, "z_loss": 0.1}, {"entropy": 0.1}, {"z_loss": 0.1}]
)
def test_the_spec_knows_what_couples_sequences(
    per: str, granularity: str, extra: Mapping[str, float]
):
    """Penalties that do not couple are the mean of each sequence's own, also where tokens halt."""
    chooser, alive_BT = (
        built(of("open", granularity=granularity, balance={**extra, "per": per})),
        alive(),
    )
    choice = choices(chooser, states(length=1 if granularity == "sequence" else LENGTH))[1]
    if granularity == "sequence":
        alive_BT = alive_BT.any(1, keepdim=True).expand(-1, LENGTH)
    together = number(to_route(chooser.config, choice, alive_BT).routing.penalty)
    lanes = [slice(lane, lane + 1) for lane in range(LANES)]
    alone = [
        number(to_route(chooser.config, part_of(choice, lane), alive_BT[lane]).routing.penalty)
        for lane in lanes
    ]
    assert (together == pytest.approx(sum(alone) / LANES, rel=1e-4)) == (
        not chooser.config.couples_batch
    )


def test_a_route_of_a_sequence_is_that_of_all_its_tokens_and_is_balanced_over_sequences():
    chooser = built(
        of(
            "open",
            granularity="sequence",
            balance={"loss": 1.0, "per": "sequence", "identity": True},
        )
    )
    alive_BT = everybody()
    alive_BT[0] = False
    for choice in choices(chooser, states(length=1)):
        route = to_route(chooser.config, choice, alive_BT)
        assert route.chosen_BTK.shape == (LANES, LENGTH, 1)
        assert torch.equal(route.chosen_BTK[1:], choice.chosen_BTK[1:].expand(-1, LENGTH, -1))
        assert float(route.routing.load_E.sum()) == (LANES - 1) * LENGTH
        expected = uneven(
            choice.probability_BTE[1:, 0].tolist(), choice.chosen_BTK[1:].flatten().tolist(), POOL
        )
        assert number(route.routing.penalty) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "balance", [{"loss": 1.0}, {"loss": 1.0, "per": "sequence"}, {"entropy": 1.0}]
)
@pytest.mark.parametrize("selection", ["straight_through", "soft"])
def test_penalties_even_the_use_of_layers(balance: Mapping[str, object], selection: str):
    chooser = built(of("open", selection=selection, identity=0, balance=balance))
    assert chooser.router is not None
    with torch.no_grad():
        chooser.router.out.weight[0] += states().mean((0, 1))
    before = sum(max_vio(route.routing.load_E) for route in routes(chooser, everybody()))
    optimizer = torch.optim.SGD(chooser.parameters(), lr=2.0)
    for _ in range(40):
        optimizer.zero_grad()
        sum(
            (route.routing.penalty for route in routes(chooser, everybody())), torch.zeros(())
        ).backward()
        optimizer.step()
    assert (
        sum(max_vio(route.routing.load_E) for route in routes(chooser, everybody())) < 0.7 * before
    )


def max_vio(load_E: Tensor) -> float:
    return float(load_E.max() / load_E.mean() - 1)


@pytest.mark.parametrize("selection", ["straight_through", "gumbel", "soft", "reinforce"])
def test_a_bias_moves_the_choice_and_no_probability(selection: str):
    chooser, plain = built(of("open", selection=selection)), built(of("open", selection=selection))
    chooser.bias_SE[1, 2] = 50
    for step, (biased, choice) in enumerate(
        zip(choices(chooser, states()), choices(plain, states()), strict=True)
    ):
        assert torch.equal(biased.probability_BTE, choice.probability_BTE)
        assert torch.equal(biased.chosen_BTK, choice.chosen_BTK) == (step != 1)
        if step == 1:
            assert biased.chosen_BTK[..., 0].eq(2).all()
            assert biased.weight_BTK.sum(-1).sub(1).abs().max() < 1e-6
    assert hard(chooser, states())[1].chosen_BTK.eq(2).all()


@pytest.mark.parametrize("identity", [True, False])
def test_the_bias_evens_the_loads_of_the_layers_that_are_counted(identity: bool):
    chooser = built(of("open", balance={"bias": 0.05, "identity": identity}))
    shares = []
    for _ in range(100):
        load_SE = torch.stack([route.routing.load_E for route in routes(chooser, everybody())])
        chooser.rebalance(load_SE)
        shares.append(load_SE)
    counted = POOL if identity else POOL - 1
    first, last = shares[0][:, :counted], torch.stack(shares[-20:]).mean(0)[:, :counted]
    assert max(map(max_vio, last)) < 0.25 < max(map(max_vio, first))
    torch.testing.assert_close(chooser.bias_SE.sum(1), torch.zeros(STEPS), atol=1e-4, rtol=0)
    assert bool(chooser.bias_SE[:, POOL - 1].any()) == identity


def test_the_bias_moves_by_the_sign_of_what_is_missing():
    chooser = built(of("open", balance={"bias": 0.25}))
    chooser.rebalance(
        torch.tensor([[4.0, 0.0, 2.0, 7.0], [6.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    )
    third = 0.25 / 3  # one is above the mean, two below: centred
    torch.testing.assert_close(
        chooser.bias_SE,
        torch.tensor(
            [[-0.25, 0.25, 0, 0], [-0.25 - third, 0.25 - third, 0.25 - third, 0], [0, 0, 0, 0]]
        ),
    )


def test_without_a_rate_the_bias_stays():
    chooser = built(of("open"))
    chooser.rebalance(torch.tensor([[4.0, 0.0, 2.0, 7.0]] * STEPS))
    assert not chooser.bias_SE.any()


@pytest.mark.parametrize("given", [of("random"), of("learned"), of("open", selection="soft")])
def test_without_a_balance_a_route_costs_nothing(given: Given):
    assert [number(route.routing.penalty) for route in routes(built(given), everybody())] == [
        0,
        0,
        0,
    ]


class Layer(nn.Module):
    """Two matrices and a gain."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.first, self.second, self.gain = (
            nn.Parameter(first),
            nn.Parameter(second),
            nn.Parameter(torch.ones(3)),
        )


def test_similarity_is_the_mean_squared_cosine_over_pairs_and_matrices():
    generator = torch.Generator().manual_seed(0)
    layers = [
        Layer(torch.randn(3, 4, generator=generator), torch.randn(2, 3, generator=generator))
        for _ in range(4)
    ]
    expected = []
    for name in ("first", "second"):
        for one in range(4):
            for other in range(one):
                a, b = (getattr(layers[index], name).flatten() for index in (one, other))
                expected.append(number((a @ b) ** 2 / (a @ a) / (b @ b)))
    found = similarity(layers)
    assert number(found) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    found.backward()
    assert all(
        (weight.grad is None) == (weight.ndim == 1)
        for layer in layers
        for weight in layer.parameters()
    )


def test_similarity_of_equal_opposite_and_orthogonal_layers():
    eye, flip = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert number(similarity([Layer(eye, eye), Layer(2 * eye, -eye)])) == pytest.approx(1)
    assert number(similarity([Layer(eye, eye), Layer(flip, flip)])) == pytest.approx(0)
    assert number(similarity([Layer(eye, eye)])) == 0


def test_similarity_is_in_fp32_under_autocast():
    layers = [
        Layer(torch.randn(8, 8, generator=torch.Generator().manual_seed(seed)), torch.eye(8))
        for seed in range(2)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(similarity(layers), similarity(layers).float())
        under = similarity(layers)
    assert torch.equal(under, similarity(layers))


def test_a_pool_of_one_layer_leaves_no_choice():
    chooser = built(of("open", layers=1, identity=0, balance=EVERYTHING))
    for choice, route in zip(choices(chooser, states()), routes(chooser, everybody()), strict=True):
        assert choice.weight_BTK.eq(1).all()
        assert route.chosen_BTK.eq(0).all()
        assert route.routing.penalty.isfinite()
