"""What every interval keeps to, whatever the law and the rows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.fit.synthetic import made

from scalelab.fit.bootstrap import bootstrap, wild
from scalelab.fit.estimate import estimate
from scalelab.fit.law import Choices
from scalelab.fit.optimum import optimise
from scalelab.fit.profile import profile

LAWS = ["power_offset", "chinchilla", "overtraining", "data_constrained", "precision", "sigmoid"]


@pytest.mark.slow
@settings(max_examples=8)
@given(
    some.sampled_from(LAWS),
    some.integers(0, 1000),
    some.sampled_from([1e-3, 1e-2, 0.1]),
    some.sampled_from([1, 5]),
)
def test_no_interval_excludes_its_estimate(name: str, seed: int, noise: float, starts: int) -> None:
    check(name, seed, noise, starts)


@pytest.mark.parametrize(("name", "seed"), [("power_offset", 0), ("error_from_loss", 1)])
def test_no_interval_of_a_few_sets_excludes_its_estimate(name: str, seed: int) -> None:
    check(name, seed, noise=0.05, starts=2)


def check(name: str, seed: int, noise: float, starts: int) -> None:
    problem = made(name, rows=25, noise=noise, seed=seed)
    optimum = optimise(problem, Choices(starts=starts))
    for resample in (bootstrap, wild):
        draws = resample(problem, optimum, np.arange(25), 60, seed)
        for coefficient, value in optimum.coefficients.items():
            low, high = estimate(value, draws[coefficient]).ci95 or (value, value)
            assert low <= value <= high
    for coefficient in problem.names:
        value, found = optimum.coefficients[coefficient], profile(problem, optimum, coefficient, 7)
        low, high = found.ends
        assert low is None or low <= value * (1 + np.sign(value) * 1e-9)
        assert high is None or high >= value * (1 - np.sign(value) * 1e-9)


@given(some.floats(-5, 5), some.integers(0, 100))
def test_an_interval_of_draws_is_stretched_to_its_value(value: float, seed: int) -> None:
    draws_B = np.random.default_rng(seed).normal(size=100)
    found = estimate(value, draws_B, draws_B)
    low, high = np.quantile(draws_B, (0.025, 0.975))
    assert found.ci95 == (min(low, value), max(high, value))
    assert found.prediction95 == found.ci95


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_profile_intervals_hold_the_truth_as_often_as_they_say(coverage: ModuleType) -> None:
    """Of 60 sets and three coefficients; counting the rows that the fit meets would make it 75 %.

    A set's three go together: the mean of all has a standard deviation of at most that of one
    coefficient, sqrt(0.95 * 0.05 / 60) = 2.8 %; the lower bound is 2.5 of these.
    """
    hits = 0
    for seed in range(60):
        problem = coverage.made(seed, 30, "normal")
        hits += len(coverage.covered(problem, optimise(problem, Choices(starts=5))))
    assert hits / 180 > 0.95 - 0.07
