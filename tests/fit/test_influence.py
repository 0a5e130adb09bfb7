"""Refits without rows: which rows, and what comes out."""

import numpy as np
import pytest

from scalelab.fit.influence import each_configuration, highest, without
from scalelab.fit.laws import find
from scalelab.fit.optimum import optimise
from scalelab.fit.problem import Problem


def test_masks_name_configurations_and_the_highest_rows() -> None:
    assert each_configuration(np.array([0, 1, 0])).tolist() == [
        [True, False, True],
        [False, True, False],
    ]
    assert highest(np.array([2.0, 5.0, 3.0]), 2).tolist() == [
        [False] * 3,
        [False, True, False],
        [False, True, True],
    ]


def test_without_a_row_is_a_fit_to_the_others() -> None:
    rng = np.random.default_rng(0)
    size_N = np.geomspace(1e5, 1e8, 14)
    loss_N = (1.5 + 30 * size_N**-0.3) * np.exp(0.004 * rng.standard_normal(14))
    law = find("power_offset")
    problem = Problem.of(law, {"N": size_N}, loss_N)
    moved = without(problem, optimise(problem), np.eye(14, dtype=bool)[:2])
    alone = optimise(Problem.of(law, {"N": size_N[1:]}, loss_N[1:]))
    for name, value in alone.coefficients.items():
        assert moved[name][0] == pytest.approx(value, rel=1e-3)
    assert moved["alpha"][0] != moved["alpha"][1]
