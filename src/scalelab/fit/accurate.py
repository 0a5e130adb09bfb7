"""A formula rewritten so that nothing cancels: the same values, with all their digits.

`R*(1 - exp(-x/R))` subtracts two numbers that agree in more and more digits as R grows, and is
noise from about R = 1e15. It is `x*exprel(-x/R)` with `exprel(u) = (e^u - 1)/u`, which loses
nothing, nor does its derivative by R. Rewritten are, wherever they stand in a formula:

    T - T*exp(u), T - T*b^u    ->  -T*expm1(u), -T*expm1(u*log b)
    log(1 + u)                 ->  log1p(u)
    c*expm1(u/c), c*log1p(u/c) ->  u*exprel(u/c), u*log1prel(u/c)
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

from scalelab.fit.formula import Function, Node, Number, Power, Product, Sum, Symbol, factors, terms

_RELATIVE = {"expm1": "exprel", "log1p": "log1prel"}


def accurate(node: Node) -> Node:
    """The formula in a form that loses no digits."""
    match node:
        case Sum():
            return _sum([part for term in node.terms for part in terms(accurate(term))])
        case Product():
            return _product([part for one in node.factors for part in factors(accurate(one))])
        case Power(base=base, exponent=exponent):
            return Power(accurate(base), accurate(exponent))
        case Function(name="log", arguments=(inner,)):
            return _log(accurate(inner))
        case Function(name=name, arguments=arguments):
            return Function(name, tuple(map(accurate, arguments)))
    return node


def _sum(parts: Sequence[Node]) -> Node:
    """Terms added, with every pair T - T*exp(u) as one term."""
    for first, second in permutations(range(len(parts)), 2):
        exponent = _cancelling(parts[first], parts[second])
        if exponent is not None:
            others = [part for index, part in enumerate(parts) if index not in (first, second)]
            difference = (Number(-1.0), *factors(parts[first]), Function("expm1", (exponent,)))
            return _sum([*others, _product(difference)])
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def _cancelling(whole: Node, part: Node) -> Node | None:
    """u where `part` is -whole*exp(u)."""
    exponents = [(factor, _exponent(factor)) for factor in factors(part)]
    inner = [exponent for _, exponent in exponents if exponent is not None]
    others = [factor for factor, exponent in exponents if exponent is None]
    if not inner or any(_exponent(factor) is not None for factor in factors(whole)):
        return None
    (scale, left), (other, right) = _scaled(others), _scaled(factors(whole))
    if scale != -other or left != right:
        return None
    return inner[0] if len(inner) == 1 else Sum(tuple(inner))


def _exponent(node: Node) -> Node | None:
    """u where the node is exp(u), or a positive number to a power that is no number."""
    match node:
        case Function(name="exp", arguments=(inner,)):
            return inner
        case Power(base=Number(value=base), exponent=exponent) if base > 0 and not isinstance(
            exponent, Number
        ):
            return Product((Number(math.log(base)), *factors(exponent)))
    return None


def _scaled(parts: Sequence[Node]) -> tuple[float, Counter[Node]]:
    """The numbers among factors as one, and the other factors in whatever order."""
    numbers = [part.value for part in parts if isinstance(part, Number)]
    return math.prod(numbers), Counter(part for part in parts if not isinstance(part, Number))


def _product(parts: Sequence[Node]) -> Node:
    """Factors multiplied, with c*expm1(u/c) and c*log1p(u/c) as one."""
    for index, part in enumerate(parts):
        if not isinstance(part, Function) or part.name not in _RELATIVE:
            continue
        inside = factors(part.arguments[0])
        for scale in parts:
            if isinstance(scale, Symbol) and Power(scale, Number(-1.0)) in inside:
                rest = [other for place, other in enumerate(parts) if place != index]
                rest.remove(scale)
                above = list(inside)
                above.remove(Power(scale, Number(-1.0)))
                return _product([*rest, *above, Function(_RELATIVE[part.name], part.arguments)])
    return parts[0] if len(parts) == 1 else Product(tuple(parts))


def _log(inner: Node) -> Node:
    parts = terms(inner)
    numbers = [part.value for part in parts if isinstance(part, Number)]
    rest = [part for part in parts if not isinstance(part, Number)]
    if not rest or math.fsum(numbers) != 1.0:
        return Function("log", (inner,))
    return Function("log1p", (rest[0] if len(rest) == 1 else Sum(tuple(rest)),))
