"""Means, differences and ratios over replicates: by hand, and as often within their intervals as
these say.
"""

import math

import numpy as np
import pytest

from scalelab.fit.replicates import difference, mean, ratio


def test_a_mean_has_students_interval() -> None:
    found = mean([1.0, 2.0, 3.0])
    assert found is not None
    assert found.ci95 is not None
    assert (found.value, found.se) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert found.ci95 == pytest.approx(
        (2 - 2.48414, 2 + 2.48414), abs=1e-5
    )  # t at 0.975 with 2 degrees of freedom: 4.302653


def test_one_value_or_equal_ones_have_no_interval_and_none_no_mean() -> None:
    for values in ([4.0], [4.0, 4.0, 4.0], [4.0, math.nan]):
        found = mean(values)
        assert found is not None
        assert (found.value, found.se, found.ci95) == (4.0, None, None)
    assert mean([]) is None
    assert mean([math.inf]) is None


def test_pairs_take_away_what_seeds_have_in_common() -> None:
    base = {0: 5.0, 1: 7.0, 2: 9.0, 7: 100.0}
    found = difference({2: 8.1, 0: 4.0, 1: 5.9, 8: -100.0}, base)
    assert found is not None
    assert found.ci95 is not None
    assert found.value == pytest.approx(-1.0)
    assert found.ci95[1] < -0.7
    assert difference({5: 1.0}, base) is None


def test_a_ratio_is_geometric_and_turns_with_its_sides() -> None:
    one, other = {0: 20.0, 1: 40.0}, {0: 10.0, 1: 10.0}
    found, turned = ratio(one, other), ratio(other, one)
    assert found is not None
    assert turned is not None
    assert found.value == pytest.approx(math.sqrt(8))
    assert turned.value == pytest.approx(1 / found.value)
    assert turned.ci95 is not None
    assert found.ci95 == pytest.approx((1 / turned.ci95[1], 1 / turned.ci95[0]))
    assert ratio({0: 0.0}, {0: 1.0}) is None


def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        shared, noise = rng.normal(scale=5, size=4), rng.normal(size=(2, 4))
        found = difference(
            dict(enumerate(shared + 0.3 + noise[0])), dict(enumerate(shared + noise[1]))
        )
        assert found is not None
        assert found.ci95 is not None
        held += found.ci95[0] <= 0.3 <= found.ci95[1]
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
