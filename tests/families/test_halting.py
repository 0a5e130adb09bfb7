"""Who halts when, what each step weighs, and what thinking costs."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalelab.families.layer_router.halting import Halting, HaltState
from scalelab.families.layer_router.spec import Act, LayerRouter, Ponder, Threshold
from scalelab.layers.parameters import roles

Rule = Act | Ponder | Threshold
RULES: list[Rule] = [
    Act(),
    Act(epsilon=0.3),
    Ponder(),
    Ponder(prior=0.6, halts_at=0.9),
    Threshold(),
    Threshold(threshold=0.6),
]
NAMES = ["act", "act_wide", "ponder", "ponder_late", "threshold", "threshold_low"]


def halting(rule: Rule, steps: int, *, trains: bool = True) -> Halting:
    return Halting(LayerRouter(steps=steps, width=4, heads=1, halting=rule)).train(trains)


def taken(module: Halting, shares: Sequence[float | Tensor]) -> list[HaltState]:
    """The states of one token whose halting unit gives these probabilities."""
    x_BTD, state, found = (
        torch.zeros(1, 1, 4),
        module.start(1, 1, torch.zeros(1)),
        list[HaltState](),
    )
    for step, share in enumerate(shares):
        # A state of zeros leaves the bias alone: it says the probability.
        module.bias = torch.nn.Parameter(torch.tensor([share]).logit())
        state = module(x_BTD, step, state)
        found.append(state)
    return found


def weights(states: list[HaltState]) -> list[float]:
    return [round(state.weight_BT.item(), 5) for state in states]


def thought(module: Halting, x_SBTD: Tensor) -> list[HaltState]:
    """The states of all steps, over the tokens' states [S, B, T, D]."""
    _, lanes, positions, _ = x_SBTD.shape
    state, found = module.start(lanes, positions, x_SBTD), list[HaltState]()
    for step, x_BTD in enumerate(x_SBTD):
        state = module(x_BTD, step, state)
        found.append(state)
    return found


def told(rule: Rule, steps: int, *, trains: bool = True) -> Halting:
    """A halting unit that looks at the states."""
    module = halting(rule, steps, trains=trains)
    torch.nn.init.normal_(module.weight, std=1.5, generator=torch.Generator().manual_seed(1))
    return module


def test_act_takes_the_remainder_where_the_sum_is_reached():
    states = taken(module := halting(Act(epsilon=0.1, cost=0.5), 5), [0.2, 0.3, 0.45, 0.9, 0.9])
    assert weights(states) == [
        0.2,
        0.3,
        0.5,
        0,
        0,
    ]  # 0.95 is above 0.9: the third takes 1 - 0.2 - 0.3
    assert [bool(state.alive_BT) for state in states] == [True, True, False, False, False]
    assert float(states[-1].steps_BT) == 3
    assert module.cost(states[-1]).item() == pytest.approx(0.5 * (3 + 0.5))


def test_act_ends_at_the_last_step():
    states = taken(halting(Act(), 3), [0.1, 0.1, 0.1])
    assert weights(states) == [0.1, 0.1, 0.8]
    assert float(states[-1].steps_BT) == 3
    assert not states[-1].alive_BT
    assert states[-1].cost_BT.item() == pytest.approx(3.8)


def test_stick_breaking_takes_a_share_of_what_is_left():
    states = taken(
        module := halting(Threshold(threshold=0.8, cost=2.0), 5), [0.5, 0.5, 0.5, 0.5, 0.5]
    )
    assert weights(states) == [
        0.5,
        0.25,
        0.25,
        0,
        0,
    ]  # 0.875 is above 0.8: the third takes the rest
    assert float(states[-1].steps_BT) == 3
    assert module.cost(states[-1]).item() == pytest.approx(2 * (0.5 * 1 + 0.25 * 2 + 0.25 * 3))


def test_ponder_net_goes_to_the_end_while_training():
    states = taken(module := halting(Ponder(prior=0.5, cost=3.0), 3), [0.4, 0.1, 0.3])
    expected = [0.4, 0.6 * 0.1, 0.6 * 0.9]
    assert weights(states) == pytest.approx(expected)
    assert [bool(state.alive_BT) for state in states] == [True, True, False]
    assert float(states[-1].steps_BT) == pytest.approx(
        0.4 + 2 * 0.06 + 3 * 0.54
    )  # what is expected
    prior = [0.5 / 0.875, 0.25 / 0.875, 0.125 / 0.875]
    divergence = sum(p * math.log(p / q) for p, q in zip(expected, prior, strict=True))
    assert module.cost(states[-1]).item() == pytest.approx(3 * divergence)


@pytest.mark.parametrize(("halts_at", "steps"), [(0.3, 1), (0.5, 3), (0.69, 3), (1.0, 4)])
def test_ponder_net_halts_where_nothing_is_trained(halts_at: float, steps: int):
    shares = [0.4, 0.1, 0.45, 0.9]  # halted by then with 0.4, 0.46, 0.703 and 1
    states = taken(halting(Ponder(halts_at=halts_at), 4, trains=False), shares)
    assert weights(states) == [float(step == steps) for step in range(1, 5)]
    assert float(states[-1].steps_BT) == steps
    with torch.no_grad():
        assert weights(taken(halting(Ponder(halts_at=halts_at), 4), shares)) == weights(states)


def test_the_prior_costs_nothing():
    """The last step takes the rest, of the prior as of what is learned: the cut-off prior is not
    reached by equal shares.
    """
    prior, steps = 0.3, 6
    left = [1 - sum(prior * 0.7**n for n in range(k)) / (1 - 0.7**steps) for k in range(steps)]
    shares = [prior * 0.7**n / (1 - 0.7**steps) / left[n] for n in range(steps - 1)]
    states = taken(halting(Ponder(prior=prior), steps), [*shares, 0.5])
    assert states[-1].cost_BT.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), steps=st.integers(2, 9), size=st.floats(0.1, 20))
def test_the_weights_of_a_token_sum_to_one(
    rule: Rule, trains: bool, seed: int, steps: int, size: float
):
    module = told(rule, steps, trains=trains)
    x_SBTD = size * torch.randn(steps, 2, 5, 4, generator=torch.Generator().manual_seed(seed))
    states = thought(module, x_SBTD)
    torch.testing.assert_close(sum(state.weight_BT for state in states), torch.ones(2, 5))
    assert all((state.weight_BT >= 0).all() for state in states)
    assert not states[-1].alive_BT.any()
    thinks_ST = torch.stack(
        [torch.ones(2, 5, dtype=torch.bool), *(state.alive_BT for state in states[:-1])]
    )
    if isinstance(rule, Ponder) and trains:
        expected_BT = sum(step * state.weight_BT for step, state in enumerate(states, 1))
        torch.testing.assert_close(states[-1].steps_BT, expected_BT)
    else:
        assert torch.equal(states[-1].steps_BT, thinks_ST.sum(0).float())
    for state, thinks_BT in zip(states, thinks_ST, strict=True):
        assert not state.weight_BT[~thinks_BT].any()


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_token_that_has_halted_stays_as_it_was(rule: Rule, trains: bool):
    module = told(rule, 6, trains=trains)
    module.bias.data.fill_(-1.0 if isinstance(rule, Ponder) else 0.0)
    x_SBTD = torch.randn(6, 3, 8, 4, generator=torch.Generator().manual_seed(2))
    states = thought(module, x_SBTD)
    halted_BT = ~states[2].alive_BT
    assert halted_BT.any() != (trains and isinstance(rule, Ponder))
    assert not halted_BT.all()
    for before, after in pairwise(states[2:]):
        assert not (after.alive_BT | (after.weight_BT > 0))[halted_BT].any()
        for name in ("left_BT", "steps_BT", "cost_BT"):
            assert torch.equal(getattr(after, name)[halted_BT], getattr(before, name)[halted_BT])


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_gradients_reach_the_unit_and_the_states(rule: Rule):
    """From the cost, and from what is predicted from."""
    module = told(rule, 4)
    x_SBTD = torch.randn(4, 2, 5, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    for value in ("cost", "mix"):
        states = thought(module, x_SBTD)
        mix_BTD = torch.einsum(
            "sbt,sbtd->btd", torch.stack([state.weight_BT for state in states]), x_SBTD.detach()
        )
        (module.cost(states[-1]).mean() if value == "cost" else mix_BTD.square().sum()).backward()
        for part in (module.weight, module.bias, x_SBTD):
            assert part.grad is not None
            assert 0 < float(part.grad.abs().sum()) < math.inf
            part.grad = None


def test_the_ponder_cost_is_lowered_by_halting_sooner():
    """dR / dh_n is -1 for every step before the last, and nothing else of the cost has
    a gradient.
    """
    module = halting(Act(cost=1.0), 3)
    x_BTD, state = torch.zeros(1, 1, 4), module.start(1, 1, torch.zeros(1))
    for step in range(3):
        state = module(x_BTD, step, state)
    (grad,) = torch.autograd.grad(module.cost(state).sum(), module.bias)
    share = torch.tensor(1 / 3)
    torch.testing.assert_close(grad, -2 * (share * (1 - share))[None])


@pytest.mark.parametrize(
    ("rule", "share", "steps"),
    [(Act(), 1 / 8, 8), (Threshold(), 1 / 8, 8), (Ponder(prior=0.2), 0.2, 4)],
)
def test_tokens_think_at_first(rule: Rule, share: float, steps: int):
    """Whatever they hold; PonderNet to the median of its prior."""
    module = halting(rule, 8, trains=False)
    x_SBTD = torch.randn(8, 2, 5, 4, generator=torch.Generator().manual_seed(5))
    states = thought(module, x_SBTD)
    assert (states[-1].steps_BT == steps).all()
    if not isinstance(rule, Ponder):
        torch.testing.assert_close(states[0].weight_BT, torch.full((2, 5), share))


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_the_size_of_a_state_tells_nothing_and_half_precision_changes_nothing(rule: Rule):
    module = told(rule, 4)
    x_SBTD = torch.randn(4, 2, 5, 4, generator=torch.Generator().manual_seed(6)).bfloat16().float()
    expected = thought(module, x_SBTD)[-1]
    torch.testing.assert_close(thought(module, 1000 * x_SBTD)[-1], expected, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        found = thought(module, x_SBTD.bfloat16())[-1]
    assert found.weight_BT.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_the_unit_counts_among_the_routers():
    module = halting(Act(), 3)
    assert set(roles(module).values()) == {"router"}
    assert sum(weight.numel() for weight in module.parameters()) == 4 + 1
