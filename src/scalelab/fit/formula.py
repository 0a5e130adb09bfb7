"""Formulas of laws: `E + A*N^-alpha + B*D^-beta`, parsed into a small tree. Never evaluated as
code.

A formula is made of numbers, names, `+ - * / ^` (or `**`) and the functions below. Which names are
columns and which are coefficients is for the law to say (`fit.law`).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from keyword import iskeyword
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalelab.core.errors import UserError, nearest
from scalelab.core.text import beginning, is_text

Floats = NDArray[np.float64]

FUNCTIONS: dict[str, int] = {"exp": 1, "log": 1, "expm1": 1, "log1p": 1, "min": 2, "max": 2}
"""The functions of a formula with their number of arguments; `log` is the natural one."""

LENGTH = 10_000
"""Most characters of a formula."""

NAME = 64
"""Most characters of a name."""

BRACKETS = 30
"""Most brackets, and powers of powers, inside one another."""

PARTS, LEVELS = 1_000, 100
"""Most nodes of a tree, and most of them above one another, whatever is substituted."""

_CURE = "write it like `E + A*N^-alpha + B*D^-beta`"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d|\.\d)(?:[\w.]|(?<=[eE])[+-](?=\d))*)|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|\S))"
)
_NUMBER = re.compile(r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?")


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


@lru_cache(maxsize=256)
def parse(text: str) -> Node:
    """The tree of a formula.

    Raises UserError where the text is none, with what is wrong and how to write it.
    """
    if not text.strip():
        raise UserError("a law has an empty formula", cure=_CURE)
    if len(text) > LENGTH:
        what = f"the formula `{text}` has {len(text):,} characters"
        raise UserError(what, cure=f"write at most {LENGTH:,}")
    found = _Parser(text).whole()
    _check_extent(*_extent(found))
    return found


class _Token(NamedTuple):
    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        assert match is not None, "every character begins a token"
        at, kind = match.end(), str(match.lastgroup)
        yield _Token(kind, "^" if match[kind] == "**" else match[kind])


class _Parser:
    """Reads sums of products of powers from left to right.

    A sign stands before a whole power: `-x^2` is `-(x^2)`. `x^y^z` is `x^(y^z)`.
    """

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._tokens = [*_tokens(text), _Token("end", "")]

    def whole(self) -> Node:
        """The formula. Raises UserError where anything else follows it."""
        if not is_text(self._text):
            raise self._fault("it is not UTF-8")
        found = self._sum()
        if self._next.kind != "end":
            raise self._unexpected()
        return found

    def _sum(self) -> Node:
        first = self._product()
        found = list(terms(first))
        while (sign := self._taken("+", "-")) is not None:
            term = self._product()
            found += terms(term) if sign == "+" else (negative(term),)
        return first if len(found) == len(terms(first)) else Sum(tuple(found))

    def _product(self) -> Node:
        first = self._signed()
        found = list(factors(first))
        while (sign := self._taken("*", "/")) is not None:
            factor = self._signed()
            found += factors(factor) if sign == "*" else (Power(factor, Number(-1.0)),)
        return first if len(found) == len(factors(first)) else Product(tuple(found))

    def _signed(self) -> Node:
        is_negative = False
        while (sign := self._taken("+", "-")) is not None:
            is_negative ^= sign == "-"
        found = self._power()
        return negative(found) if is_negative else found

    def _power(self) -> Node:
        base = self._atom()
        return base if self._taken("^") is None else Power(base, self._inside(self._signed))

    def _atom(self) -> Node:
        kind, text = self._next
        if kind == "number":
            self._at += 1
            return self._number(text)
        if kind == "name" and not iskeyword(text):
            self._at += 1
            return self._named(text)
        if self._taken("(") is None:
            raise self._unexpected()
        found = self._inside(self._sum)
        self._close()
        return found

    def _number(self, text: str) -> Number:
        if not _NUMBER.fullmatch(text):
            raise self._fault(
                f"`{beginning(text)}` has no place in one, as neither a number nor a name",
                "write a product with *, as 2*N, and a large number like 3e7",
            )
        value = float(text.replace("_", ""))
        if not math.isfinite(value):
            raise self._fault(f"`{beginning(text)}` has no place in one: it is too large")
        return Number(value)

    def _named(self, name: str) -> Node:
        if len(name) > NAME:
            raise self._fault(
                f"the name `{beginning(name)}` has {len(name):,} letters", f"write at most {NAME}"
            )
        if self._taken("(") is not None:
            return self._call(name)
        if name in FUNCTIONS:
            raise self._fault(f"`{name}` is a function", f"write {name}(...), or take another name")
        return Symbol(name)

    def _call(self, name: str) -> Function:
        arguments = [self._inside(self._sum)]
        while self._taken(",") is not None:
            arguments.append(self._inside(self._sum))
        self._close()
        if name not in FUNCTIONS:
            raise self._fault(f"there is no function `{name}`", nearest(name, list(FUNCTIONS)))
        if len(arguments) != FUNCTIONS[name]:
            raise self._fault(f"`{name}` takes {FUNCTIONS[name]} and has {len(arguments)}")
        return Function(name, tuple(arguments))

    def _inside(self, rule: Callable[[], Node]) -> Node:
        """What stands in brackets or in an exponent."""
        self._depth += 1
        if self._depth > BRACKETS:
            what = "its brackets or its powers are too deep"
            raise self._fault(what, f"nest at most {BRACKETS}, and name parts with `let`")
        found = rule()
        self._depth -= 1
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self, *signs: str) -> str | None:
        """The next token where it is one of these signs; it is passed then."""
        kind, text = self._next
        if kind != "sign" or text not in signs:
            return None
        self._at += 1
        return text

    def _close(self) -> None:
        if self._taken(")") is None:
            raise self._unexpected()

    def _unexpected(self) -> UserError:
        """The fault of a token that has no place where it stands."""
        kind, text = self._next
        if kind == "end":
            return self._fault("it is incomplete")
        cure = f"{_CURE}; words like `{text}` are no names" if iskeyword(text) else _CURE
        return self._fault(f"`{beginning(text)}` has no place in one", cure)

    def _fault(self, what: str, cure: str = _CURE) -> UserError:
        return UserError(f"`{self._text}` is no formula: {what}", cure=cure)


def _extent(node: Node, inside: Mapping[str, tuple[int, int]] | None = None) -> tuple[int, int]:
    """Nodes of a tree and most of them above one another, were `inside` put in for names."""
    if isinstance(node, Symbol):
        return (inside or {}).get(node.name, (1, 1))
    below = [_extent(child, inside) for child in children(node)]
    return 1 + sum(size for size, _ in below), 1 + max((level for _, level in below), default=0)


def _check_extent(parts: int, levels: int) -> None:
    if parts > PARTS:
        raise UserError(f"a formula has {parts:,} parts", cure=f"write at most {PARTS:,}")
    if levels > LEVELS:
        what = f"the parts of a formula lie {levels:,} deep in one another"
        raise UserError(what, cure=f"nest at most {LEVELS}")


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
    """The formula with formulas put in for names, all at once.

    Raises UserError where that becomes too large.
    """
    extents = {name: _extent(put_in) for name, put_in in by_name.items()}
    _check_extent(*_extent(node, extents))
    return _substitute(node, by_name)


def _substitute(node: Node, by_name: Mapping[str, Node]) -> Node:
    match node:
        case Symbol(name=name):
            return by_name.get(name, node)
        case Sum(terms=parts):
            return Sum(tuple(_substitute(part, by_name) for part in parts))
        case Product(factors=parts):
            return Product(tuple(_substitute(part, by_name) for part in parts))
        case Power(base=base, exponent=exponent):
            return Power(_substitute(base, by_name), _substitute(exponent, by_name))
        case Function(name=name, arguments=parts):
            return Function(name, tuple(_substitute(part, by_name) for part in parts))
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
