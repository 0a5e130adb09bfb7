"""What every law keeps: `synthetic.TRUE` has coefficients for each."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.fit.synthetic import TRUE, made

from scalelab.fit.kept import law_of
from scalelab.fit.law import Choices
from scalelab.fit.laws import LAWS
from scalelab.fit.optimum import optimise


def test_every_law_has_known_coefficients():
    assert set(TRUE) == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_it_has_a_source_and_the_coefficients_that_are_known(name: str):
    law = LAWS[name]
    assert law.source
    assert law.about
    assert set(law.coefficients) == set(TRUE[name])


@pytest.mark.parametrize("name", LAWS)
def test_gradients_are_those_of_the_objective(name: str):
    problem = made(name, rows=40, noise=0.05)
    rng = np.random.default_rng(1)
    theta_SP = rng.uniform(
        *np.transpose([axis.start for axis in problem.axes]), (10, len(problem.axes))
    )
    gradient_SP = problem.value_and_gradient(theta_SP)[1]
    for index, shift_P in enumerate(1e-6 * np.eye(len(problem.axes))):
        rise_S = (
            problem.value_and_gradient(theta_SP + shift_P)[0]
            - problem.value_and_gradient(theta_SP - shift_P)[0]
        )
        assert gradient_SP[:, index] == pytest.approx(
            rise_S / 2e-6, abs=1e-7 * np.abs(gradient_SP).max(), rel=1e-4
        )


@pytest.mark.parametrize("name", LAWS)
def test_normalised_parameters_are_the_coefficients_written_otherwise(name: str):
    problem = made(name)
    theta_1P = problem.theta(TRUE[name])
    again = {key: float(value[0]) for key, value in problem.coefficients(theta_1P).items()}
    assert again == pytest.approx(TRUE[name], rel=1e-9)
    assert problem.value_and_gradient(theta_1P)[0][0] == pytest.approx(
        problem.objective(TRUE[name]), rel=1e-9
    )


@pytest.mark.parametrize("name", LAWS)
def test_known_coefficients_are_recovered_without_noise(name: str):
    """A law is recovered where it predicts what the rows show; coefficients too where the law has
    no ridge.
    """
    problem = made(name, noise=0.0)
    found = optimise(problem, Choices(starts=40))
    unit = 1.0 if problem.law.residual == "log" else np.abs(problem.y_N).mean()
    assert np.abs(problem.residuals(found.coefficients)).max() < 1e-4 * unit
    if len(problem.axes) < 9:
        assert found.coefficients == pytest.approx(TRUE[name], rel=0.02)


@pytest.mark.parametrize("name", LAWS)
def test_it_comes_back_from_its_record(name: str):
    law = replace(LAWS[name], about="")
    assert law_of(json.loads(json.dumps(law.to_json()))) == law
