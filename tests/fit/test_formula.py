import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.errors import UserError
from scalelab.fit.formula import (
    BRACKETS,
    LEVELS,
    PARTS,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    evaluate,
    names,
    parse,
    substitute,
)


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
        ("2N + A", "`2N`"),
        ("6k*A*N", "`6k`"),
        ("0x10*N", "`0x10`"),
        ("E + A*N^-exp", "`exp` is a function"),
        ("A*N)", "no place"),
        ("(A*N", "incomplete"),
        ("A*N\0", "no place"),
        ("A*N^-\udcff", "UTF-8"),
        ("A # a comment", "no place"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        parse(text)


def test_the_tree_of_a_formula():
    a, x, y = Symbol("a"), Symbol("x"), Symbol("y")
    assert parse("a + (x + y) - 2") == Sum((a, x, y, Number(-2.0)))
    assert parse("a*x/y*-x") == Product((a, x, Power(y, Number(-1.0)), Number(-1.0), x))
    assert parse("-x^-y^2") == Product(
        (Number(-1.0), Power(x, Product((Number(-1.0), Power(y, Number(2.0))))))
    )
    assert parse("1_000 + .5 - 2.5e-3") == Sum((Number(1000.0), Number(0.5), Number(-0.0025)))


@pytest.mark.parametrize(
    "text",
    [
        "E" + " + A*N^-a" * 2000,
        "+".join(f"A{number}" for number in range(2000)),
        "(" * 500 + "N" + ")" * 500,
        "exp(" * 500 + "N" + ")" * 500,
        "N" + "^a" * 500,
        "N" + "^-(a" * 400 + ")" * 400,
        "x" * 5000 + "*N",
        "x" * 1_000_000,
        "9" * 9000 + "*N",
        "-" * 9000,
        "(" * 9000,
        " " * 9000 + "(",
        "1e+" * 3000,
    ],
)
def test_too_much_is_refused_at_once(text: str):
    began = time.perf_counter()
    with pytest.raises(UserError) as raised:
        parse(text)
    assert time.perf_counter() - began < 5  # a machine may be busy; what is quadratic takes minutes
    assert len(str(raised.value)) < 1000


def test_much_is_not_too_much():
    terms = (PARTS - 1) // 3
    assert names(parse("+".join(["a*b"] * terms))) == ["a", "b"]
    deep = parse("exp(" * BRACKETS + "x" + ")" * BRACKETS)
    assert evaluate(deep, {"x": -np.inf}) > 1
    assert evaluate(parse("-" * 99 + "x"), {"x": 2.0}) == -2


def test_what_is_put_in_counts():
    half, most = parse("+".join(["x"] * (PARTS // 2))), parse("+".join(["x"] * (PARTS - 2)))
    assert names(substitute(parse("x + y"), {"x": half})) == ["x", "y"]
    with pytest.raises(UserError, match=f"at most {PARTS:,}"):
        substitute(parse("x*x"), {"x": half})
    with pytest.raises(UserError, match=f"at most {PARTS:,}"):
        substitute(parse("x*y"), {"x": most})
    deep = parse("exp(" * BRACKETS + "x" + ")" * BRACKETS)
    for _ in range(LEVELS // BRACKETS - 1):
        deep = substitute(parse("exp(" * (BRACKETS - 1) + "x" + ")" * (BRACKETS - 1)), {"x": deep})
    with pytest.raises(UserError, match=f"at most {LEVELS}"):
        substitute(deep, {"x": deep})


@given(some.text(alphabet="abxN.019e+-*/^() ,_\udcff\0", max_size=60))
def test_any_text_is_a_formula_or_refused(text: str):
    try:
        evaluate(parse(text), dict.fromkeys(names(parse(text)), 1.5))
    except UserError as error:
        str(error).encode()
