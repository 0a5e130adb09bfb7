"""Formulas of laws: `E + A*N^-alpha + B*D^-beta`, parsed into a small tree. Never evaluated as
code.

A formula is made of numbers, names, `+ - * / ^` (or `**`) and the functions below. Which names are
columns and which are coefficients is for the law to say (`fit.law`).
"""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from scalelab.core.errors import UserError, nearest

Floats = NDArray[np.float64]

FUNCTIONS: dict[str, int] = {"exp": 1, "log": 1, "expm1": 1, "log1p": 1, "min": 2, "max": 2}
"""The functions of a formula with their number of arguments; `log` is the natural one."""

_CURE = "write it like `E + A*N^-alpha + B*D^-beta`"


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Symbol:
    """A column or a coefficient."""

    name: str


@dataclass(frozen=True)
class Sum:
    """Terms added; a difference adds a product with -1."""

    terms: tuple["Node", ...]


@dataclass(frozen=True)
class Product:
    """Factors multiplied; a quotient multiplies by a power of -1."""

    factors: tuple["Node", ...]


@dataclass(frozen=True)
class Power:
    """`base ^ exponent`."""

    base: "Node"
    exponent: "Node"


@dataclass(frozen=True)
class Function:
    """One of `FUNCTIONS`."""

    name: str
    arguments: tuple["Node", ...]


Node = Number | Symbol | Sum | Product | Power | Function


def parse(text: str) -> Node:
    """The tree of a formula.

    Raises UserError where the text is none, with what is wrong and how to write it.
    """
    if not isinstance(text, str) or not text.strip():
        raise UserError("a law has an empty formula", cure=_CURE)
    try:
        tree = ast.parse(" ".join(text.replace("^", "**").split()), mode="eval").body
    except SyntaxError as error:
        raise UserError(
            f"`{text}` is no formula", cure=f"{_CURE}; words like `lambda` are no names"
        ) from error
    return _node(tree, text)


def _node(tree: ast.expr, text: str) -> Node:
    match tree:
        case ast.Constant(value=int() | float() as value) if not isinstance(
            value, bool
        ) and math.isfinite(value):
            return Number(float(value))
        case ast.Name(id=name):
            return Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return negative(_node(inner, text))
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _node(inner, text)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(_node(left, text), op, _node(right, text), text)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, tuple(_node(argument, text) for argument in arguments), text)
    raise UserError(
        f"`{text}` is no formula: `{ast.unparse(tree)}` has no place in one", cure=_CURE
    )


def _binary(left: Node, op: ast.operator, right: Node, text: str) -> Node:
    match op:
        case ast.Add():
            return Sum((*terms(left), *terms(right)))
        case ast.Sub():
            return Sum((*terms(left), negative(right)))
        case ast.Mult():
            return Product((*factors(left), *factors(right)))
        case ast.Div():
            return Product((*factors(left), Power(right, Number(-1.0))))
        case ast.Pow():
            return Power(left, right)
    raise UserError(f"`{text}` is no formula", cure=_CURE)


def _call(name: str, arguments: tuple[Node, ...], text: str) -> Node:
    if name not in FUNCTIONS:
        raise UserError(
            f"`{text}` is no formula: there is no function `{name}`",
            cure=nearest(name, list(FUNCTIONS)),
        )
    if len(arguments) != FUNCTIONS[name]:
        raise UserError(
            f"`{text}` is no formula: `{name}` takes {FUNCTIONS[name]} and has {len(arguments)}",
            cure=_CURE,
        )
    return Function(name, arguments)


def terms(node: Node) -> tuple[Node, ...]:
    """What a sum adds; any other node is one term."""
    return node.terms if isinstance(node, Sum) else (node,)


def factors(node: Node) -> tuple[Node, ...]:
    """What a product multiplies; any other node is one factor."""
    return node.factors if isinstance(node, Product) else (node,)


def negative(node: Node) -> Node:
    """The node times -1."""
    return (
        Number(-node.value) if isinstance(node, Number) else Product((Number(-1.0), *factors(node)))
    )


def children(node: Node) -> tuple[Node, ...]:
    """What a node is made of."""
    match node:
        case Sum(terms=parts) | Product(factors=parts) | Function(arguments=parts):
            return parts
        case Power(base=base, exponent=exponent):
            return (base, exponent)
    return ()


def names(node: Node) -> list[str]:
    """The names in a formula, in order of appearance, each once."""
    return list(dict.fromkeys(part.name for part in _walk(node) if isinstance(part, Symbol)))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _walk(child)


def substitute(node: Node, by_name: Mapping[str, Node]) -> Node:
    """The formula with names put in for others, all at once."""
    match node:
        case Symbol(name=name):
            return by_name.get(name, node)
        case Sum(terms=parts):
            return Sum(tuple(substitute(part, by_name) for part in parts))
        case Product(factors=parts):
            return Product(tuple(substitute(part, by_name) for part in parts))
        case Power(base=base, exponent=exponent):
            return Power(substitute(base, by_name), substitute(exponent, by_name))
        case Function(name=name, arguments=parts):
            return Function(name, tuple(substitute(part, by_name) for part in parts))
    return node


def _relative(function: Callable[[Floats], Floats], inside: Floats) -> Floats:
    """function(u)/u, one at zero."""
    return np.where(inside == 0, 1.0, function(inside) / np.where(inside == 0, 1.0, inside))


CALLS: dict[str, Callable[..., Floats]] = {
    "exp": np.exp,
    "log": np.log,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "exprel": lambda inside: _relative(np.expm1, inside),
    "log1prel": lambda inside: _relative(np.log1p, inside),
    "min": np.minimum,
    "max": np.maximum,
}
"""Every function by name; `exprel` and `log1prel` only come from rewriting (`fit.accurate`)."""


def evaluate(node: Node, values: Mapping[str, Floats | float]) -> Floats:
    """The formula's value where every name has one; arrays broadcast.

    Infinities and NaN come out as they are.
    """
    with np.errstate(all="ignore"):
        return np.asarray(_evaluate(node, values), dtype=np.float64)


def _evaluate(node: Node, values: Mapping[str, Floats | float]) -> Floats:
    match node:
        case Number(value=value):
            return np.float64(value)  # type: ignore[return-value]
        case Symbol(name=name):
            return np.asarray(values[name], dtype=np.float64)
        case Sum(terms=parts):
            return reduce(np.add, [_evaluate(part, values) for part in parts])
        case Product(factors=parts):
            return reduce(np.multiply, [_evaluate(part, values) for part in parts])
        case Power(base=base, exponent=exponent):
            return np.power(_evaluate(base, values), _evaluate(exponent, values))
        case Function(name=name, arguments=parts):
            return CALLS[name](*[_evaluate(part, values) for part in parts])
