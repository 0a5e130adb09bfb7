"""A formula compiled against its columns: values for many sets of coefficients at once, with
reverse-mode gradients.

What is a product of powers is one operation: the exponential of a form that is linear in the
parameters (`fit.forms`), so Chinchilla's law is two small matrix products and a sum. Everything
else is a tape of sums, products, powers and functions. A part that occurs several times is on the
tape once.

Shape letters: S sets of parameters, P parameters, N rows (or 1, where a value is the same in every
row).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.special import factorial

from scalelab.fit.forms import NOTHING, Form, Forms
from scalelab.fit.formula import CALLS, Floats, Function, Node, Power, Product, Sum

Pull = Callable[[Floats, Floats], None]
"""Adds what an adjoint [S, N] of the value means for the parameters to a gradient [S, P]."""

Operation = Callable[[Floats], tuple[Floats, Pull]]
"""Parameters [S, P] -> value [S, N] or [S, 1], and its pull."""

Back = Callable[..., Sequence[Floats]]
"""(adjoint, value, values of the inputs) -> adjoints of the inputs."""


@dataclass(frozen=True)
class Leaf:
    """A form of the parameters, or its exponential."""

    used_K: np.ndarray
    feature_KN: Floats
    offset_N: Floats
    exponential: bool

    def value(self, theta_SP: Floats) -> Floats:
        """[S, N] at parameters."""
        value_SN = theta_SP[:, self.used_K] @ self.feature_KN
        value_SN += self.offset_N
        return np.exp(value_SN, out=value_SN) if self.exponential else value_SN

    def pull(self, adjoint_SN: Floats, value_SN: Floats, gradient_SP: Floats) -> None:
        """Add the gradient that an adjoint of the value means."""
        if self.exponential:
            adjoint_SN = adjoint_SN * value_SN
        gradient_SP[:, self.used_K] += adjoint_SN @ self.feature_KN.T


@dataclass(frozen=True)
class Step:
    """An operation on values that are on the tape already."""

    inputs: tuple[int, ...]
    forward: Callable[..., Floats]
    back: Back


@dataclass
class Tape:
    """Values in the order in which they are computed; the last one is the formula's."""

    places: list[Floats | Leaf | Step] = field(default_factory=list)
    """What is the same for all parameters stands there as its value [1, N]."""

    def __call__(self, theta_SP: Floats) -> tuple[Floats, Pull]:
        """The formula at parameters, and its pull."""
        values: list[Floats] = []
        for place in self.places:
            match place:
                case Leaf():
                    values.append(place.value(theta_SP))
                case Step():
                    values.append(place.forward(*[values[index] for index in place.inputs]))
                case _:
                    values.append(place)
        return values[-1], lambda adjoint, gradient: self._pull(values, adjoint, gradient)

    def _pull(self, values: list[Floats], adjoint_SN: Floats, gradient_SP: Floats) -> None:
        adjoints: list[Floats | None] = [None] * len(values)
        adjoints[-1] = _to(adjoint_SN, values[-1])
        for index in reversed(range(len(values))):
            place, adjoint = self.places[index], adjoints[index]
            if adjoint is None:
                continue
            if isinstance(place, Leaf):
                place.pull(adjoint, values[index], gradient_SP)
            elif isinstance(place, Step):
                inputs = [values[one] for one in place.inputs]
                backs = place.back(adjoint, values[index], *inputs)
                for one, back in zip(place.inputs, backs, strict=True):
                    if isinstance(self.places[one], Leaf | Step):
                        known, back = adjoints[one], _to(back, values[one])
                        adjoints[one] = back if known is None else known + back


@dataclass
class Compiler:
    """Formula -> operation.

    `basis`: parameter name -> (row [P], offset): the parameter as a line in the vector that is
    optimised.
    """

    forms: Forms
    basis: Mapping[str, tuple[Floats, float]]
    tape: Tape = field(default_factory=Tape)
    done: dict[Node, int] = field(default_factory=dict)
    """Part of the formula -> its place on the tape."""

    def compile(self, node: Node) -> Operation:
        """The operation of a formula; forms are found where they are."""
        last = self._place(node)
        assert last == len(self.tape.places) - 1
        return self.tape

    def _place(self, node: Node) -> int:
        if node not in self.done:
            self.done[node] = self._append(self._compiled(node))
        return self.done[node]

    def _append(self, place: Floats | Leaf | Step) -> int:
        self.tape.places.append(place)
        return len(self.tape.places) - 1

    def _compiled(self, node: Node) -> Floats | Leaf | Step:
        constant = self.forms.constant(node)
        if constant is not None:
            return constant[None, :]
        logarithm = self.forms.logarithm(node)
        if logarithm is not None:
            return self._leaf(logarithm, exponential=True)
        linear = self.forms.linear(node)
        if linear is not None:
            return self._leaf(linear, exponential=False)
        match node:
            case Sum(terms=terms):
                return Step(tuple(map(self._place, terms)), _add, _add_back)
            case Product():
                form, rest = self.forms.split(node)
                leaf = self._leaf(form, exponential=True) if form is not NOTHING else None
                first = [] if leaf is None else [self._append(leaf)]
                return Step((*first, *map(self._place, rest)), _multiply, _multiply_back)
            case Power(base=base, exponent=exponent):
                constant = self.forms.constant(exponent)
                if constant is not None and constant.size == 1:
                    return _power_of(self._place(base), float(constant[0]))
                return Step((self._place(base), self._place(exponent)), np.power, _power_back)
            case Function(name=name, arguments=arguments):
                return Step(tuple(map(self._place, arguments)), CALLS[name], _BACKS[name])
        raise AssertionError(f"{node} is a form")

    def _leaf(self, form: Form, *, exponential: bool) -> Leaf:
        """Features and offset in the vector that is optimised."""
        width = len(next(iter(self.basis.values()))[0])
        feature_PN, offset_N = np.zeros((width, 1)), form.offset
        for name, value in form.feature.items():
            row_P, shift = self.basis[name]
            feature_PN = feature_PN + row_P[:, None] * value
            offset_N = offset_N + shift * value
        rows = max(feature_PN.shape[1], len(offset_N))
        used_K = np.flatnonzero(feature_PN.any(axis=1))
        feature_KN = np.broadcast_to(feature_PN[used_K], (len(used_K), rows))
        return Leaf(
            used_K, np.ascontiguousarray(feature_KN), np.broadcast_to(offset_N, rows), exponential
        )


def _to(adjoint_SN: Floats, value_SN: Floats) -> Floats:
    """The adjoint summed over rows where the value is the same in all of them."""
    return (
        adjoint_SN
        if value_SN.shape[1] == adjoint_SN.shape[1]
        else adjoint_SN.sum(axis=1, keepdims=True)
    )


def _add(*inputs: Floats) -> Floats:
    return reduce(np.add, inputs)


def _add_back(adjoint: Floats, value: Floats, *inputs: Floats) -> Sequence[Floats]:
    return [adjoint] * len(inputs)


def _multiply(*inputs: Floats) -> Floats:
    return reduce(np.multiply, inputs)


def _multiply_back(adjoint: Floats, value: Floats, *inputs: Floats) -> Sequence[Floats]:
    """Every input's adjoint is multiplied by those before it and by those behind it."""
    before = list(accumulate(inputs[:-1], np.multiply, initial=adjoint))
    behind = list(accumulate(inputs[:0:-1], np.multiply))[::-1]
    return [*map(np.multiply, before, behind), before[-1]]


def _power_of(base: int, exponent: float) -> Step:
    """A power whose exponent is a number."""

    def back(adjoint: Floats, value: Floats, base: Floats) -> Sequence[Floats]:
        slope = -value * value if exponent == -1 else exponent * np.power(base, exponent - 1)
        return [adjoint * slope]

    forward = np.reciprocal if exponent == -1 else lambda base: np.power(base, exponent)
    return Step((base,), forward, back)


def _power_back(adjoint: Floats, value: Floats, base: Floats, exponent: Floats) -> Sequence[Floats]:
    log = np.where(value == 0, 0.0, np.log(base))
    return [adjoint * exponent * np.power(base, exponent - 1), adjoint * value * log]


_SMALL, _ORDER = 0.05, np.arange(14.0)
_EXPREL = (_ORDER + 1) / factorial(_ORDER + 2)
_LOG1PREL = (_ORDER + 1) / (_ORDER + 2) * np.where(_ORDER % 2, 1.0, -1.0)
"""Derivatives of (e^u - 1)/u and of log(1 + u)/u as series in u: their closed forms cancel where u
is small.
"""


def _near(series: Floats, inside: Floats, far: Floats) -> Floats:
    """A slope by its series where the argument is small, else by its closed form."""
    small = np.abs(inside) < _SMALL
    return np.where(small, polyval(np.where(small, inside, 0.0), series), far)


_SLOPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "exp": lambda inside, value: value,
    "log": lambda inside, value: 1 / inside,
    "expm1": lambda inside, value: value + 1,
    "log1p": lambda inside, value: 1 / (1 + inside),
    "exprel": lambda inside, value: _near(_EXPREL, inside, (np.exp(inside) - value) / inside),
    "log1prel": lambda inside, value: _near(_LOG1PREL, inside, (1 / (1 + inside) - value) / inside),
}
"""Derivatives of the functions of one argument, from the argument and the value."""


def _slope_back(slope: Callable[[Floats, Floats], Floats]) -> Back:
    return lambda adjoint, value, inside: [adjoint * slope(inside, value)]


def _extreme_back(
    adjoint: Floats, value: Floats, first: Floats, second: Floats
) -> Sequence[Floats]:
    taken = value == first
    return [adjoint * taken, adjoint * ~taken]


_BACKS: dict[str, Back] = {
    **{name: _slope_back(slope) for name, slope in _SLOPES.items()},
    "min": _extreme_back,
    "max": _extreme_back,
}
