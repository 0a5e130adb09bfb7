"""Holm's procedure: by hand, by its laws, and as often wrong as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from scalelab.fit.multiple import LEVEL, holm
from scalelab.fit.replicates import difference

ARMS, SEEDS, SETS = 8, 4, 2000


def test_the_steps_by_hand() -> None:
    """0.01 times 4, 0.02 times 3, 0.03 times 2, which is no less, and 0.5."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([[0.4, 0.9], [0.02, 0.03]]).tolist() == [[0.8, 0.9], [0.04, 0.04]]
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_it_keeps_the_order_and_lies_between_the_test_alone_and_bonferroni(
    p: list[float], random: np.random.RandomState
) -> None:
    adjusted = holm(p)
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    assert adjusted.min() == pytest.approx(min(1, len(p) * min(p)))
    mixed = list(range(len(p)))
    random.shuffle(mixed)
    assert holm([p[at] for at in mixed]) == pytest.approx(adjusted[mixed])


def p_values(effect: float = 0.0) -> np.ndarray:
    """[SETS, ARMS] of paired t tests against one base, which all arms share; the first of them
    differs by an effect in units of the noise.
    """
    rng = np.random.default_rng(0)
    base, arm = rng.normal(size=(SETS, 1, SEEDS)), rng.normal(size=(SETS, ARMS, SEEDS))
    arm[:, 0] -= effect
    away = arm - base
    t = away.mean(-1) / (away.std(-1, ddof=1) / np.sqrt(SEEDS))
    return 2 * student.sf(np.abs(t), SEEDS - 1)


def test_where_no_arm_differs_a_claim_is_made_of_one_set_in_twenty_at_most() -> None:
    p = p_values()
    assert (p <= LEVEL).any(axis=1).mean() > 0.15
    assert (holm(p) <= LEVEL).any(axis=1).mean() <= LEVEL + 3 * np.sqrt(LEVEL / SETS)


def test_one_large_effect_is_found_and_no_other_claimed() -> None:
    told = holm(p_values(effect=40.0)) <= LEVEL
    assert told[:, 0].mean() > 0.99
    assert told[:, 1:].any(axis=1).mean() <= LEVEL + 3 * np.sqrt(LEVEL / SETS)


def test_the_p_value_of_a_difference_is_that_of_its_interval() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        one, other = (dict(enumerate(rng.normal(size=4))) for _ in range(2))
        found = difference(one, other)
        assert found is not None
        assert found.ci95 is not None
        assert found.p is not None
        assert (found.p <= 0.05) == (not found.ci95[0] <= 0 <= found.ci95[1])
