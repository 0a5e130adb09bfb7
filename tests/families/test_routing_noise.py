"""The random numbers of a router's pass."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from scalelab.families.layer_router.routing_noise import RoutingNoise, draw, hashed
from scalelab.families.layer_router.spec import LayerRouter

LANES, LENGTH, POOL = 8, 5, 4

EVERYTHING = {"selection": {"kind": "reinforce", "rollouts": 2, "noise": 0.1}, "layer_dropout": 0.2}


def spec(given: Mapping[str, object]) -> LayerRouter:
    return LayerRouter.model_validate({"layers": 3, "identity": 1, "steps": 2, **given}).resolved()


def drawn(given: Mapping[str, object], lanes: int = LANES, length: int = LENGTH) -> RoutingNoise:
    draws = draw(spec(given), lanes, length, "cpu")
    assert draws is not None
    return draws


def by_sequence(numbers: Tensor | None, rollouts: int) -> Tensor:
    """Lanes [R B, ...] as [B, R, ...]."""
    assert numbers is not None
    return numbers.unflatten(0, (rollouts, -1)).transpose(0, 1)


@pytest.mark.parametrize(
    ("given", "rollouts"),
    [(EVERYTHING, 2), ({**EVERYTHING, "selection": {"kind": "gumbel", "noise": 1}}, 1)],
)
@pytest.mark.parametrize("granularity", ["token", "sequence"])
def test_a_split_batch_draws_what_the_whole_one_does(
    given: Mapping[str, object], rollouts: int, granularity: str
):
    given = {**given, "granularity": granularity}
    torch.manual_seed(3)
    whole = drawn(given, 4 * rollouts)
    torch.manual_seed(3)
    parts = [drawn(given, sequences * rollouts) for sequences in (1, 1, 2)]
    for index, numbers in enumerate(whole):
        split = torch.cat([by_sequence(part[index], rollouts) for part in parts])
        assert torch.equal(by_sequence(numbers, rollouts), split)


def test_lanes_steps_and_positions_draw_their_own():
    draws = drawn(EVERYTHING)
    for numbers in draws:
        assert numbers is not None
        assert len(numbers.unique()) == numbers.numel()


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({}, [False, False, False]),
        ({"policy": "fixed"}, [False, False, False]),
        ({"selection": {"kind": "soft"}}, [False, False, False]),
        ({"selection": {"noise": 0.1}}, [False, True, False]),
        ({"selection": {"kind": "gumbel"}}, [True, False, False]),
        ({"selection": {"kind": "reinforce"}}, [True, False, False]),
        ({"policy": "random"}, [True, False, False]),
        ({"policy": "random", "layer_dropout": 0.1}, [True, False, True]),
        ({"layer_dropout": 0.1}, [False, False, True]),
    ],
)
def test_only_what_is_needed_is_drawn(given: Mapping[str, object], parts: list[bool]):
    before = torch.get_rng_state()
    draws = draw(spec(given), LANES, LENGTH, "cpu")
    assert [draws is not None and numbers is not None for numbers in draws or (None,) * 3] == parts
    assert torch.equal(before, torch.get_rng_state()) == (not any(parts))


def test_gumbel_noise_draws_by_the_softmax():
    torch.manual_seed(0)
    logits_E = torch.tensor([0.0, 1.0, -1.0, 0.5])
    noise_BTE = drawn({"selection": {"kind": "gumbel"}}, 100, 200).gumbel(1)
    share_E = torch.bincount((logits_E + noise_BTE).argmax(-1).flatten(), minlength=POOL) / 20_000
    torch.testing.assert_close(share_E, logits_E.softmax(-1), atol=0.01, rtol=0)


def test_normal_noise_is_normal():
    torch.manual_seed(0)
    noise = drawn({"selection": {"noise": 1}}, 100, 200).normal(0).flatten()
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise < -1.2816).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_the_ends_of_the_uniform_numbers_are_finite():
    ends = torch.tensor([2.0**-25, 1 - 2.0**-24]).view(1, 1, 1, 2)
    draws = RoutingNoise(ends, ends, None)
    assert draws.gumbel(0).isfinite().all()
    assert draws.normal(0).isfinite().all()


@pytest.mark.parametrize("remain", [1, 2])
def test_layers_are_dropped_at_their_rate_and_some_always_remain(remain: int):
    torch.manual_seed(0)
    draws, barred_E = drawn({"layer_dropout": 0.3}, 5000), torch.tensor([False, True, False, False])
    dropped_BE = draws.dropped(1, 0.3, barred_E, remain)[:, 0]
    free_BE = dropped_BE[:, ~barred_E]
    assert int((~free_BE).sum(1).min()) == remain
    lost = sum(math.comb(3, k) * 0.3**k * 0.7 ** (3 - k) * min(k, 3 - remain) for k in range(4)) / 3
    assert float(free_BE.float().mean()) == pytest.approx(lost, abs=0.01)
    assert ((~draws.dropped(1, 0.999999, barred_E, remain)[:, 0]) & ~barred_E).sum(
        1
    ).unique().tolist() == [remain]


def test_hashed_numbers_are_spread_and_stay_what_they_are():
    """Routes of stored trials rest on them."""
    numbers = hashed(torch.arange(100)[:, None, None], 3, torch.arange(50))
    assert len(numbers.unique()) > 4990
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.003)
    assert hashed(torch.tensor([0, 1, 255]), 2, torch.tensor(1)).tolist() == pytest.approx(
        [0.804674, 0.110836, 0.630371], abs=1e-6
    )
