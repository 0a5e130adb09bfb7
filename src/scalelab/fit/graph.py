"""A formula compiled against its columns: values for many sets of coefficients at once, with
reverse-mode gradients.

What is a product of powers is one operation: the exponential of a form that is linear in the
parameters (`fit.forms`), so Chinchilla's law is two small matrix products and a sum. Everything
else is a tape of sums, products, powers and functions.

Shape letters: S sets of parameters, P parameters, N rows (or 1, where a value is the same in every
row).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from scalelab.fit.forms import NOTHING, Form, Forms
from scalelab.fit.formula import Floats, Function, Node, Power, Product, Sum

Pull = Callable[[Floats, Floats], None]
"""Adds what an adjoint [S, N] of the value means for the parameters to a gradient [S, P]."""

Operation = Callable[[Floats], tuple[Floats, Pull]]
"""Parameters [S, P] -> value [S, N] or [S, 1], and its pull."""


@dataclass(frozen=True)
class Compiler:
    """Formula -> operation.

    `basis`: parameter name -> (row [P], offset): the parameter as a line in the vector that is
    optimised.
    """

    forms: Forms
    basis: Mapping[str, tuple[Floats, float]]

    def compile(self, node: Node) -> Operation:
        """The operation of a formula; forms are found where they are."""
        constant = self.forms.constant(node)
        if constant is not None:
            return _constant(constant)
        logarithm = self.forms.logarithm(node)
        if logarithm is not None:
            return _exponential(*self._matrix(logarithm))
        linear = self.forms.linear(node)
        if linear is not None:
            return _linear(*self._matrix(linear))
        return self._compound(node)

    def _compound(self, node: Node) -> Operation:
        match node:
            case Sum(terms=terms):
                return _sum([self.compile(term) for term in terms])
            case Product():
                form, rest = self.forms.split(node)
                first = [_exponential(*self._matrix(form))] if form is not NOTHING else []
                return _product([*first, *map(self.compile, rest)])
            case Power(base=base, exponent=exponent):
                return _power(self.compile(base), self.compile(exponent))
            case Function(name=name, arguments=arguments):
                return _FUNCTIONS[name](*map(self.compile, arguments))
        raise AssertionError(f"{node} is a form")

    def _matrix(self, form: Form) -> tuple[Floats, Floats]:
        """Features [P, N] and offset [N] in the vector that is optimised."""
        width = len(next(iter(self.basis.values()))[0])
        feature_PN, offset_N = np.zeros((width, 1)), form.offset
        for name, value in form.feature.items():
            row_P, shift = self.basis[name]
            feature_PN = feature_PN + row_P[:, None] * value
            offset_N = offset_N + shift * value
        rows = max(feature_PN.shape[1], len(offset_N))
        return np.broadcast_to(feature_PN, (width, rows)), np.broadcast_to(offset_N, rows)


def _to(adjoint_SN: Floats, value_SN: Floats) -> Floats:
    """The adjoint summed over rows where the value is the same in all of them."""
    return (
        adjoint_SN
        if value_SN.shape[1] == adjoint_SN.shape[1]
        else adjoint_SN.sum(axis=1, keepdims=True)
    )


def _constant(value_N: Floats) -> Operation:
    return lambda theta_SP: (value_N[None, :], lambda adjoint, gradient: None)


def _exponential(feature_PN: Floats, offset_N: Floats) -> Operation:
    used = np.flatnonzero(feature_PN.any(axis=1))
    feature_KN = np.ascontiguousarray(feature_PN[used])

    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        value_SN = theta_SP[:, used] @ feature_KN
        value_SN += offset_N
        np.exp(value_SN, out=value_SN)

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            gradient_SP[:, used] += (_to(adjoint_SN, value_SN) * value_SN) @ feature_KN.T

        return value_SN, pull

    return operation


def _linear(feature_PN: Floats, offset_N: Floats) -> Operation:
    used = np.flatnonzero(feature_PN.any(axis=1))
    feature_KN = np.ascontiguousarray(feature_PN[used])

    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        value_SN = theta_SP[:, used] @ feature_KN + offset_N

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            gradient_SP[:, used] += _to(adjoint_SN, value_SN) @ feature_KN.T

        return value_SN, pull

    return operation


def _sum(parts: list[Operation]) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        done = [part(theta_SP) for part in parts]

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            for value_SN, pull_part in done:
                pull_part(_to(adjoint_SN, value_SN), gradient_SP)

        return reduce(np.add, [value for value, _ in done]), pull

    return operation


def _product(parts: list[Operation]) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        done = [part(theta_SP) for part in parts]

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            for index, (value_SN, pull_part) in enumerate(done):
                others = [value for other, (value, _) in enumerate(done) if other != index]
                pull_part(_to(reduce(np.multiply, others, adjoint_SN), value_SN), gradient_SP)

        return reduce(np.multiply, [value for value, _ in done]), pull

    return operation


def _power(base: Operation, exponent: Operation) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        (base_SN, pull_base), (exponent_SN, pull_exponent) = base(theta_SP), exponent(theta_SP)
        value_SN = np.power(base_SN, exponent_SN)

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            pull_base(
                _to(adjoint_SN * exponent_SN * np.power(base_SN, exponent_SN - 1), base_SN),
                gradient_SP,
            )
            with np.errstate(all="ignore"):
                log_SN = np.where(value_SN == 0, 0.0, np.log(base_SN))
            pull_exponent(_to(adjoint_SN * value_SN * log_SN, exponent_SN), gradient_SP)

        return value_SN, pull

    return operation


def _exp(inner: Operation) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        inside_SN, pull = inner(theta_SP)
        value_SN = np.exp(inside_SN)
        return value_SN, lambda adjoint, gradient: pull(
            _to(adjoint * value_SN, inside_SN), gradient
        )

    return operation


def _log(inner: Operation) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        inside_SN, pull = inner(theta_SP)
        return np.log(inside_SN), lambda adjoint, gradient: pull(
            _to(adjoint / inside_SN, inside_SN), gradient
        )

    return operation


def _extreme(
    choose: Callable[[Floats, Floats], Floats], first: Operation, second: Operation
) -> Operation:
    def operation(theta_SP: Floats) -> tuple[Floats, Pull]:
        (first_SN, pull_first), (second_SN, pull_second) = first(theta_SP), second(theta_SP)
        value_SN = choose(first_SN, second_SN)

        def pull(adjoint_SN: Floats, gradient_SP: Floats) -> None:
            taken_SN = value_SN == first_SN
            pull_first(_to(adjoint_SN * taken_SN, first_SN), gradient_SP)
            pull_second(_to(adjoint_SN * ~taken_SN, second_SN), gradient_SP)

        return value_SN, pull

    return operation


_FUNCTIONS: dict[str, Callable[..., Operation]] = {
    "exp": _exp,
    "log": _log,
    "min": lambda first, second: _extreme(np.minimum, first, second),
    "max": lambda first, second: _extreme(np.maximum, first, second),
}
