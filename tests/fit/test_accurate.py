"""Formulas keep their digits far out, and so do their gradients."""

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.fit.accurate import accurate
from scalelab.fit.formula import evaluate, names, parse
from scalelab.fit.law import Law, Loss
from scalelab.fit.problem import Problem

FAR = [1.0, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e40]

Exact = Callable[[Decimal, Decimal], Decimal]
FORMS: dict[str, Exact] = {
    "R*(1 - exp(-x/R))": lambda x, r: r * (1 - (-x / r).exp()),
    "R - R*exp(-x/R)": lambda x, r: r * (1 - (-x / r).exp()),
    "R - exp(-x/R)*R": lambda x, r: r * (1 - (-x / r).exp()),
    "3*R*x - x*3*R*exp(x/R)*exp(x/R)": lambda x, r: 3 * r * x * (1 - (2 * x / r).exp()),
    "exp(x/R) - 1": lambda x, r: (x / r).exp() - 1,
    "R*(1 - 2^(-x/R))": lambda x, r: r * (1 - Decimal(2) ** (-x / r)),
    "log(1 + x/R)": lambda x, r: (1 + x / r).ln(),
    "R*log(0.5 + x/R + 0.5)": lambda x, r: r * (1 + x / r).ln(),
    "x*(1 + R*(1 - exp(-(x - 1)/R)))": lambda x, r: x * (1 + r * (1 - (-(x - 1) / r).exp())),
    "1/(R*(1 - exp(-x/R)))": lambda x, r: 1 / (r * (1 - (-x / r).exp())),
}


def exact(form: Exact, x: float, r: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 240
        return form(Decimal(x), r)


@pytest.mark.parametrize("r", FAR)
@pytest.mark.parametrize("text", FORMS)
def test_values_keep_their_digits(text: str, r: float) -> None:
    found = evaluate(accurate(parse(text)), {"x": 3.0, "R": r})
    assert float(found) == pytest.approx(
        float(exact(FORMS[text], 3.0, Decimal(r))), rel=1e-14, abs=0.0
    )


@pytest.mark.parametrize("r", FAR)
@pytest.mark.parametrize("text", ["R*(1 - exp(-x/R))", "R*log(0.5 + x/R + 0.5)"])
def test_gradients_keep_their_digits(text: str, r: float) -> None:
    """By log R the value changes by about x^2/2R, which the difference of two terms would lose."""
    law = Law(
        "mine",
        text,
        {"x": "x"},
        residual="linear",
        loss=Loss("squared"),
        bounds={"R": (1e-3, 1e60)},
    )
    problem = Problem.of(law, {"x": np.array([3.0])}, np.array([0.0]))
    theta_1P = problem.theta({"R": r})
    value, slope = (float(part.ravel()[0]) for part in problem.value_and_gradient(theta_1P))
    with localcontext() as context:
        context.prec = 240
        step = Decimal("1e-30")
        rise = exact(FORMS[text], 3.0, Decimal(r) * step.exp()) - exact(
            FORMS[text], 3.0, Decimal(r) * (-step).exp()
        )
        expected = float(rise / (2 * step))
    assert slope == pytest.approx(2 * np.sqrt(value) * expected, rel=1e-12, abs=0.0)


@given(some.sampled_from(sorted(FORMS)), some.floats(0.1, 10), some.floats(0.1, 10))
def test_a_formula_has_the_value_that_was_declared(text: str, x: float, r: float) -> None:
    values = {"x": x, "R": r}
    assert evaluate(accurate(parse(text)), values) == pytest.approx(
        evaluate(parse(text), values), rel=1e-10, abs=1e-10
    )


@pytest.mark.parametrize(
    "text",
    [
        "1 - exp(-x) + exp(-y)",
        "R - A*exp(-x/R)",
        "R + R*exp(-x/R)",
        "log(2 + x)",
        "log(1 + 1 + x)",
        "E + A*N^-alpha + B*D^-beta",
        "exp(x)*expm1(y) - min(x, log(y))/max(1, exp(x))",
        "x - x",
    ],
)
def test_other_formulas_mean_the_same(text: str) -> None:
    tree = parse(text)
    values = {name: 0.3 + 0.2 * index for index, name in enumerate(names(tree))}
    assert evaluate(accurate(tree), values) == pytest.approx(
        evaluate(tree, values), rel=1e-12, abs=1e-12
    )
    assert set(names(accurate(tree))) == set(names(tree))
