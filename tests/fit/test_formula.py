import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.errors import UserError
from scalelab.fit.formula import Number, evaluate, names, parse, substitute


def test_a_formula_has_its_value():
    values = {"E": 1.5, "A": 4.0, "N": np.array([1.0, 4.0, 16.0]), "alpha": 0.5}
    assert evaluate(parse("E + A*N^-alpha"), values) == pytest.approx([5.5, 3.5, 2.5])
    assert evaluate(parse("E - A/N**alpha"), values) == pytest.approx([-2.5, -0.5, 0.5])
    assert evaluate(parse("min(N, 4) + max(1, log(exp(2))) - -1"), values) == pytest.approx(
        [4, 7, 7]
    )


@given(some.floats(0.1, 10), some.floats(0.1, 10), some.floats(-3, 3))
def test_precedence_is_that_of_arithmetic(x: float, y: float, z: float):
    values = {"x": x, "y": y, "z": z}
    assert evaluate(parse("-x^z*y/x - y^2^z + (x - y - z)"), values) == pytest.approx(
        -(x**z) * y / x - y**2**z + (x - y - z)
    )


def test_names_come_in_order_of_appearance_and_once():
    assert names(parse("E + A*N^-alpha + A*D^-alpha")) == ["E", "A", "N", "alpha", "D"]


def test_substitution_is_done_all_at_once():
    swapped = substitute(parse("x - 2*y"), {"x": parse("y"), "y": parse("x")})
    assert evaluate(swapped, {"x": 1.0, "y": 10.0}) == 8.0
    assert substitute(parse("beta"), {"beta": Number(0.5)}) == Number(0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("E + ", "no formula"),
        ("E + A*N^-lambda", "lambda"),
        ("sin(N)", "no function `sin`"),
        ("exp(N, D)", "takes 1"),
        ("__import__('os').system('true')", "no place"),
        ("[N for N in D]", "no place"),
        ("N if D else E", "no place"),
        ("E < A", "no place"),
        ("1e999*N", "no place"),
        ("True*N", "no place"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        parse(text)
