"""Each step of sampling against a literal loop, and the laws that it keeps."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalelab.core.errors import UserError
from scalelab.generate.sampling import (
    GREEDY,
    Sampling,
    choose,
    filtered,
    gumbel,
    keys,
    min_p,
    penalised,
    top_k,
    top_p,
)

logits = st.lists(
    st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=5, max_size=5),
    min_size=1,
    max_size=4,
).map(torch.tensor)


def shares(row: list[float]) -> list[float]:
    highest = max(row)
    powers = [math.exp(value - highest) for value in row]
    return [power / sum(powers) for power in powers]


def kept(found_BV: Tensor) -> list[set[int]]:
    return [
        {token for token, value in enumerate(row) if value > -math.inf} for row in found_BV.tolist()
    ]


def draw(logits_BV: Tensor, sampling: Sampling, lanes: list[int], position: int = 3) -> list[int]:
    return choose(
        logits_BV, sampling, keys(sampling.seed, lanes), torch.full((len(lanes),), position)
    ).tolist()


@given(logits, st.integers(1, 7))
def test_top_k_keeps_the_largest(logits_BV: Tensor, k: int) -> None:
    wanted = [
        {token for token in range(5) if sum(other > row[token] for other in row) < k}
        for row in logits_BV.tolist()
    ]
    assert kept(top_k(logits_BV, k)) == wanted


@given(logits, st.sampled_from([0.05, 0.3, 0.61, 0.9, 0.999, 1.0]))
@settings(max_examples=200)
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits_BV: Tensor, p: float) -> None:
    for row, found in zip(logits_BV.tolist(), kept(top_p(logits_BV, p)), strict=True):
        share = shares(row)
        likeliest = sorted(range(5), key=lambda token: (-row[token], token))
        assert found == set(likeliest[: len(found)])
        assert sum(share[token] for token in found) >= p - 1e-6
        assert (
            len(found) == 1 or sum(share[token] for token in likeliest[: len(found) - 1]) < p + 1e-6
        )


@given(logits, st.sampled_from([0.0, 0.04, 0.33, 1.0]))
def test_min_p_is_relative_to_the_likeliest(logits_BV: Tensor, p: float) -> None:
    for row, found in zip(logits_BV.tolist(), kept(min_p(logits_BV, p)), strict=True):
        assert found == {
            token for token in range(5) if math.exp(row[token] - max(row)) >= p * (1 - 1e-6)
        }


@given(logits, st.sampled_from([0.5, 1.0, 1.3]), st.data())
def test_the_penalty_divides_positive_and_multiplies_negative_logits(
    logits_BV: Tensor, penalty: float, data: st.DataObject
) -> None:
    seen_BV = torch.tensor([[data.draw(st.booleans()) for _ in row] for row in logits_BV.tolist()])
    for row, seen, found in zip(
        logits_BV.tolist(),
        seen_BV.tolist(),
        penalised(logits_BV, seen_BV, penalty).tolist(),
        strict=True,
    ):
        wanted = [
            (value / penalty if value > 0 else value * penalty) if was else value
            for value, was in zip(row, seen, strict=True)
        ]
        assert found == pytest.approx(wanted)


@given(logits, st.integers(1, 5), st.sampled_from([0.4, 0.8]), st.sampled_from([0.1, 0.5]))
def test_filters_see_what_those_before_them_left(
    logits_BV: Tensor, k: int, p: float, least: float
) -> None:
    found = kept(filtered(logits_BV, Sampling(top_k=k, top_p=p, min_p=least)))
    assert found == kept(min_p(top_p(top_k(logits_BV, k), p), least))
    assert all(found)


def test_top_p_of_a_rest_is_of_its_renormalised_probability() -> None:
    logits_BV = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert kept(filtered(logits_BV, Sampling(top_p=0.5))) == [{0, 1}]
    assert kept(filtered(logits_BV, Sampling(top_k=2, top_p=0.5))) == [
        {0}
    ]  # 0.4 of the 0.7 that is left


@given(logits, st.integers(0, 5))
def test_greedy_takes_the_likeliest(logits_BV: Tensor, lane: int) -> None:
    assert draw(logits_BV, GREEDY, [lane] * len(logits_BV)) == logits_BV.argmax(-1).tolist()
    assert draw(
        logits_BV, Sampling(top_k=1, seed=lane), [lane] * len(logits_BV)
    ) == logits_BV.argmax(-1).tolist() or has_ties(logits_BV)


def has_ties(logits_BV: Tensor) -> bool:
    return any(row.count(max(row)) > 1 for row in logits_BV.tolist())


@given(
    st.integers(0, 2**62 - 1),
    st.lists(st.integers(0, 99), min_size=2, max_size=6, unique=True),
    st.integers(0, 5000),
)
def test_a_lane_draws_the_same_among_others_and_alone(
    seed: int, lanes: list[int], position: int
) -> None:
    logits_BV = torch.zeros(len(lanes), 40)
    together = draw(logits_BV, Sampling(seed=seed), lanes, position)
    assert together == [
        draw(logits_BV[:1], Sampling(seed=seed), [lane], position)[0] for lane in lanes
    ]
    assert together[::-1] == draw(logits_BV, Sampling(seed=seed), lanes[::-1], position)


def test_draws_follow_the_probabilities() -> None:
    share = torch.tensor([0.5, 0.25, 0.15, 0.1])
    draws = 8000
    found = Counter(
        draw(share.log().expand(draws, 4), Sampling(seed=1), list(range(draws)), position=0)
    )
    squares = sum(
        (found[token] - draws * p) ** 2 / (draws * p) for token, p in enumerate(share.tolist())
    )
    assert squares < 16.3  # chi-squared of 3 degrees of freedom, 0.1 %


def test_draws_of_one_lane_are_independent_along_its_positions() -> None:
    logits_1V, draws = torch.zeros(1, 2), 4000
    found = [draw(logits_1V, Sampling(seed=2), [0], position)[0] for position in range(draws)]
    assert abs(sum(found) - draws / 2) < 4 * math.sqrt(draws / 4)
    changes = sum(a != b for a, b in pairwise(found))
    assert abs(changes - draws / 2) < 4 * math.sqrt(draws / 4)


def test_noise_has_the_moments_of_a_gumbel_distribution_and_is_finite() -> None:
    noise = gumbel(keys(5, range(20)), torch.arange(20), 50_000).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.57722, abs=0.005)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.01)
    assert noise.max() > 12  # the tail is there: a million draws reach ln(1e6) = 13.8, give or take
    assert torch.unique(noise).numel() > 0.97 * noise.numel()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Sampling(**wrong)  # pyright: ignore[reportArgumentType]
