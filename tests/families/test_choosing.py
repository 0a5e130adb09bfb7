"""How layers are chosen: every policy, router and selection."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from tests.families.choosers import (
    KINDS,
    LANES,
    LENGTH,
    POOL,
    SELECTIONS,
    STEPS,
    WIDTH,
    Given,
    built,
    choices,
    hard,
    of,
    part_of,
    states,
)
from torch import Tensor

from scalelab.families.layer_router.chooser import Choice
from scalelab.families.layer_router.routing_noise import draw
from scalelab.layers.parameters import roles


def _words(given: Given) -> list[str]:
    return [str(part["kind"]) if isinstance(part, dict) else str(part) for part in given.values()]


ALL = [
    of(policy, kind, selection)
    for policy, kind, selection in itertools.product(["closed", "open"], KINDS, SELECTIONS)
]
ALL += [of("learned", selection=selection) for selection in SELECTIONS] + [of("random")]
EACH = [pytest.param(given, id="-".join(_words(given))) for given in ALL]


@pytest.mark.parametrize("given", EACH)
def test_weights_sum_to_1_and_only_allowed_layers_are_chosen(given: Given):
    chooser = built(given)
    for step, (soft, fixed) in enumerate(
        zip(choices(chooser, states()), hard(chooser, states()), strict=True)
    ):
        allowed = set(chooser.config.allowed[step])
        for choice in (soft, fixed):
            assert set(choice.chosen_BTK.unique().tolist()) <= allowed
            assert choice.probability_BTE[..., sorted(set(range(POOL)) - allowed)].eq(0).all()
            torch.testing.assert_close(choice.weight_BTK.sum(-1), torch.ones(LANES, LENGTH))
        assert fixed.chosen_BTK.shape == (LANES, LENGTH, 1)
        assert fixed.weight_BTK.eq(1).all()
        assert fixed.log_prob_BT.eq(0).all()


@pytest.mark.parametrize("given", EACH)
def test_every_parameter_of_the_router_gets_a_gradient(given: Given):
    chooser = built(given)
    assert set(roles(chooser).values()) <= {"router"}
    value = torch.zeros(())
    for choice in choices(chooser, states()):
        # Layer e is worth e + 1, as a loss would see it through weights, and as REINFORCE would.
        worth_BTK = choice.chosen_BTK + 1.0
        value = (
            value
            + (choice.weight_BTK * worth_BTK).sum()
            + (choice.log_prob_BT * worth_BTK[..., 0]).sum()
        )
    if chooser.config.policy == "random":
        assert not value.requires_grad
        assert not list(chooser.parameters())
        return
    value.backward()
    assert all(
        weight.grad is not None and weight.grad.abs().max() > 0 for weight in chooser.parameters()
    )


@pytest.mark.parametrize("given", EACH)
def test_a_token_is_routed_by_itself_alone(given: Given):
    """Neither another lane nor another position moves its route, at any step."""
    chooser, x_BTD = built(given), states()
    other_BTD = x_BTD.clone()
    other_BTD[1, 2] += 3 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(9))
    same_BT = torch.ones(LANES, LENGTH, dtype=torch.bool)
    same_BT[1, 2] = False
    for run in (choices, hard):
        for before, after in zip(run(chooser, x_BTD), run(chooser, other_BTD), strict=True):
            assert all(
                torch.equal(a[same_BT], b[same_BT])
                for a, b in zip(before[:-1], after[:-1], strict=True)
            )
            if chooser.router is not None:
                assert not torch.equal(before.probability_BTE[1, 2], after.probability_BTE[1, 2])


@pytest.mark.parametrize("given", EACH)
def test_a_split_batch_is_routed_as_the_whole(given: Given):
    chooser, x_BTD = built({**given, "layer_dropout": 0.3}), states(8)
    rollouts = 4 if chooser.config.selection.kind == "reinforce" else 1
    whole = choices(chooser, x_BTD)
    if (
        rollouts > 1
    ):  # roll-out r of sequence b is lane 2 r + b: the first sequence alone takes every second lane
        parts = [choices(chooser, x_BTD[0::2])]
        whole = [part_of(choice, slice(0, None, 2)) for choice in whole]
    else:
        torch.manual_seed(0)
        parts: list[list[Choice]] = [[], []]
        for part, x_3TD in zip(parts, (x_BTD[:3], x_BTD[3:]), strict=True):
            draws, state = (
                draw(chooser.config, len(x_3TD), LENGTH, "cpu"),
                chooser.start(len(x_3TD), LENGTH, x_BTD),
            )
            for step in range(STEPS):
                choice, state = chooser(x_3TD, step, state, draws)
                part.append(choice)
    for step, choice in enumerate(whole):
        assert torch.equal(choice.chosen_BTK, torch.cat([part[step].chosen_BTK for part in parts]))


@pytest.mark.parametrize("selection", ["straight_through", "soft"])
@pytest.mark.parametrize("policy", ["learned", "closed", "open"])
def test_without_noise_training_chooses_as_it_does_afterwards(policy: str, selection: str):
    chooser = built(of(policy, selection=selection))
    for trained, fixed in zip(choices(chooser, states()), hard(chooser, states()), strict=True):
        assert torch.equal(trained.chosen_BTK[..., :1], fixed.chosen_BTK)
        assert torch.equal(trained.probability_BTE, fixed.probability_BTE)


@pytest.mark.parametrize("given", EACH)
def test_without_gradients_nothing_is_drawn(given: Given):
    chooser = built({**given, "layer_dropout": 0.5})
    expected, before = hard(chooser, states()), torch.get_rng_state()
    with torch.no_grad():
        state = chooser.start(LANES, LENGTH, states())
        for choice in expected:
            found, state = chooser(states(), choice.step, state)
            assert torch.equal(found.chosen_BTK, choice.chosen_BTK)
    assert torch.equal(before, torch.get_rng_state())


def logits_of(choice: Choice) -> Tensor:
    choice.logits_BTE.retain_grad()
    return choice.logits_BTE


def test_straight_through_weighs_exactly_1_with_the_gradient_of_the_probability():
    choice = choices(built({}), states())[0]
    logits_BTE = logits_of(choice)
    assert choice.weight_BTK.shape[-1] == 1
    assert choice.weight_BTK.eq(1).all()
    choice.weight_BTK.sum().backward()
    p_BTE, took_BTE = choice.probability_BTE.detach(), F.one_hot(choice.chosen_BTK[..., 0], POOL)
    p_BT1 = (p_BTE * took_BTE).sum(-1, keepdim=True)
    torch.testing.assert_close(
        logits_BTE.grad, p_BT1 * (took_BTE - p_BTE)
    )  # dp_i / dz_j = p_i (delta_ij - p_j)


def test_gumbel_draws_by_probability_and_passes_the_gradient_of_its_relaxation():
    chooser, x_BTD = built(of("open", selection="gumbel")), states(1, 1).expand(200, 50, -1)
    choice = choices(chooser, x_BTD)[1]
    share_E = (
        torch.bincount(choice.chosen_BTK.flatten(), minlength=POOL) / choice.chosen_BTK.numel()
    )
    torch.testing.assert_close(share_E, choice.probability_BTE[0, 0].detach(), atol=0.015, rtol=0)
    logits_BTE = logits_of(choice)
    assert choice.weight_BTK.eq(1).all()
    choice.weight_BTK.sum().backward()
    torch.manual_seed(0)
    draws = draw(chooser.config, 200, 50, "cpu")
    assert draws is not None
    q_BTE, took_BTE = (
        (logits_BTE.detach() + draws.gumbel(1)).softmax(-1),
        F.one_hot(choice.chosen_BTK[..., 0], POOL),
    )
    torch.testing.assert_close(
        logits_BTE.grad,
        (q_BTE * took_BTE).sum(-1, keepdim=True) * (took_BTE - q_BTE),
        atol=1e-6,
        rtol=1e-4,
    )


@pytest.mark.parametrize("selection", ["straight_through", "gumbel"])
def test_several_layers_weigh_their_renormalised_probabilities(selection: str):
    chooser = built(of("open", selection=selection, top=2))
    for choice in choices(chooser, states()) + hard(chooser, states()):
        p_BTK = choice.probability_BTE.gather(-1, choice.chosen_BTK)
        assert choice.chosen_BTK.shape[-1] == 2
        assert (choice.chosen_BTK[..., 0] != choice.chosen_BTK[..., 1]).all()
        torch.testing.assert_close(choice.weight_BTK, p_BTK / p_BTK.sum(-1, keepdim=True))
    for choice in hard(chooser, states()):
        assert torch.equal(choice.chosen_BTK, choice.probability_BTE.topk(2).indices)
        assert choice.weight_BTK.diff(dim=-1).le(0).all()


def test_soft_mixes_all_allowed_layers_by_probability():
    chooser = built(of("closed", selection="soft", choices=[[1, 2, 4], [2, 3], [4]]))
    for choice, count in zip(choices(chooser, states()), (3, 2, 1), strict=True):
        assert choice.chosen_BTK.shape[-1] == count
        torch.testing.assert_close(
            choice.weight_BTK, choice.probability_BTE.gather(-1, choice.chosen_BTK)
        )
        assert choice.weight_BTK.diff(dim=-1).le(0).all()


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_log_prob_of_reinforce_is_that_of_the_distribution_it_drew_from(noise: float):
    chooser = built(of("open") | {"selection": {"kind": "reinforce", "noise": noise}})
    choice = choices(chooser, states())[2]
    torch.manual_seed(0)
    draws = draw(chooser.config, LANES, LENGTH, "cpu")
    assert draws is not None
    logits_BTE = logits_of(choice)
    p_BTE = (logits_BTE.detach() + (noise * draws.normal(2) if noise else 0)).softmax(-1)
    took_BTE = F.one_hot(choice.chosen_BTK[..., 0], POOL)
    torch.testing.assert_close(choice.log_prob_BT, (p_BTE * took_BTE).sum(-1).log())
    assert choice.weight_BTK.eq(1).all()
    assert not choice.weight_BTK.requires_grad
    choice.log_prob_BT.sum().backward()
    torch.testing.assert_close(logits_BTE.grad, took_BTE - p_BTE)


def test_reinforce_climbs_the_expected_reward():
    """The mean of reward times the gradient of the log-prob is the gradient of the expected reward,
    sum_i p_i r_i.
    """
    chooser, reward_E = (
        built(of("learned", selection="reinforce")),
        torch.tensor([1.0, -1.0, 0.5, 2.0]),
    )
    assert chooser.learned is not None
    with torch.no_grad():
        chooser.learned.weight[0] = torch.tensor([0.3, -0.2, 0.5, 0.0])
    choice = choices(chooser, states(100, 200))[0]
    (choice.log_prob_BT * reward_E[choice.chosen_BTK[..., 0]]).mean().backward()
    assert chooser.learned.weight.grad is not None
    logits_E = chooser.learned.weight[0].detach().clone().requires_grad_()
    (logits_E.softmax(-1) * reward_E).sum().backward()
    torch.testing.assert_close(chooser.learned.weight.grad[0], logits_E.grad, atol=0.01, rtol=0)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_noise_explores_while_training_alone(selection: str):
    chooser = built(of("open") | {"selection": {"kind": selection, "noise": 2.0}})
    quiet = built(of("open", selection=selection))
    for noisy, still, fixed in zip(
        choices(chooser, states()), choices(quiet, states()), hard(chooser, states()), strict=True
    ):
        assert not torch.equal(noisy.chosen_BTK, still.chosen_BTK)
        assert torch.equal(noisy.probability_BTE, still.probability_BTE)
        assert torch.equal(fixed.chosen_BTK[..., 0], still.probability_BTE.argmax(-1))


@pytest.mark.parametrize(
    "given",
    [of("open"), of("open", top=2), of("closed", selection="gumbel"), of("learned"), of("random")],
)
def test_a_dropped_layer_is_chosen_nowhere_in_its_lane(given: Given):
    chooser = built({**given, "identity": 2, "layer_dropout": 0.6})
    x_BTD = states(64)
    torch.manual_seed(0)
    draws = draw(chooser.config, 64, LENGTH, "cpu")
    assert draws is not None
    for choice in choices(chooser, x_BTD):
        barred_E = chooser.barred_SE[choice.step]
        dropped_BTE = draws.dropped(choice.step, 0.6, barred_E, chooser.config.top).expand(
            -1, LENGTH, -1
        )
        assert dropped_BTE.any()
        assert not dropped_BTE.gather(-1, choice.chosen_BTK).any()
        assert not barred_E[choice.chosen_BTK].any()


def test_soft_gives_a_dropped_layer_no_weight():
    chooser = built(of("open", selection="soft", layer_dropout=0.5))
    weights = torch.stack([choice.weight_BTK for choice in choices(chooser, states(32))])
    assert weights.eq(0).any()
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(STEPS, 32, LENGTH))


def test_a_random_policy_draws_evenly_and_afterwards_goes_by_position_and_step():
    chooser = built(of("random"))
    drawn = torch.stack([choice.chosen_BTK for choice in choices(chooser, states(200, 40))])
    torch.testing.assert_close(
        torch.bincount(drawn.flatten()) / drawn.numel(),
        torch.full((POOL,), 1 / POOL),
        atol=0.01,
        rtol=0,
    )
    x_BTD = states(2, 400)
    fixed = torch.stack([choice.chosen_BTK for choice in hard(chooser, x_BTD)])
    assert torch.equal(fixed[:, 0], fixed[:, 1])
    assert not torch.equal(fixed[0], fixed[1])
    share_E = torch.bincount(fixed[:, 0].flatten()) / fixed[:, 0].numel()
    torch.testing.assert_close(share_E, torch.full((POOL,), 1 / POOL), atol=0.05, rtol=0)
    position_BT = torch.tensor([[7, 8], [0, 399]])
    alone = torch.stack([choice.chosen_BTK for choice in hard(chooser, x_BTD[:, :2], position_BT)])
    assert torch.equal(alone, torch.stack([fixed[:, 0, row] for row in position_BT], dim=1))


def test_a_random_route_of_a_sequence_is_one_wherever_it_is_decoded():
    chooser, x_B1D = built(of("random", granularity="sequence")), states(2, 1)
    later = hard(chooser, x_B1D, torch.tensor([[5], [9]]))
    assert all(
        torch.equal(a.chosen_BTK, b.chosen_BTK)
        for a, b in zip(hard(chooser, x_B1D), later, strict=True)
    )
