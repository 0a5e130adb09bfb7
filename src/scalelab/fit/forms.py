"""The parts of a formula whose logarithm, or value, is linear in the parameters.

The logarithm of `A*N^-alpha` is `log A - alpha*log N`: a feature for each parameter, row by row,
and an offset. Such a part is evaluated for many sets of parameters by one matrix product, and its
scale can be taken up by one coefficient (`fit.layout`).

Shape letters: N rows (or 1, where a value is the same in every row).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from scalelab.core.errors import UserError
from scalelab.fit import formula
from scalelab.fit.formula import Floats, Function, Node, Power, Product, Sum, Symbol


@dataclass(frozen=True)
class Form:
    """`offset + sum of feature * parameter`, row by row.

    Parameters: logarithms of positive coefficients, or real ones.
    """

    feature: Mapping[str, Floats]
    offset: Floats

    def __add__(self, other: "Form") -> "Form":
        names = dict.fromkeys([*self.feature, *other.feature])
        zero = np.zeros(1)
        feature = {
            name: self.feature.get(name, zero) + other.feature.get(name, zero) for name in names
        }
        return Form(feature, self.offset + other.offset)

    def times(self, factor_N: Floats) -> "Form":
        """Every part times a number for each row."""
        return Form(
            {name: value * factor_N for name, value in self.feature.items()}, self.offset * factor_N
        )


NOTHING = Form({}, np.zeros(1))


@dataclass(frozen=True)
class Forms:
    """Reads forms out of a formula.

    `columns`: values by symbol; `real`: coefficients that are not taken as logarithms.
    """

    columns: Mapping[str, Floats]
    real: frozenset[str]

    def constant(self, node: Node) -> Floats | None:
        """Its value, [N] or [1], where it has no coefficient.

        Raises UserError where that is not finite in some row.
        """
        names = formula.names(node)
        if any(name not in self.columns for name in names):
            return None
        value = np.atleast_1d(formula.evaluate(node, self.columns))
        if not np.isfinite(value).all():
            of = f"of {', '.join(names)} " if names else ""
            worst = value[~np.isfinite(value)][0]
            raise UserError(
                f"a part {of}of the law's formula is {worst:g} in a row",
                cure="take smaller powers, and those of positive columns only",
            )
        return value

    def linear(self, node: Node) -> Form | None:
        """The node as a form, where it is linear in the parameters."""
        constant = self.constant(node)
        if constant is not None:
            return Form({}, constant)
        match node:
            case Symbol(name=name) if name in self.real:
                return Form({name: np.ones(1)}, np.zeros(1))
            case Sum(terms=terms):
                return _all(self.linear(term) for term in terms)
            case Product(factors=factors):
                return self._scaled(factors)
            case Function(name="log", arguments=(inner,)):
                return self.logarithm(inner)
        return None

    def _scaled(self, factors: Sequence[Node]) -> Form | None:
        """A product in which one factor has coefficients."""
        constants = [self.constant(factor) for factor in factors]
        varying = [
            factor for factor, constant in zip(factors, constants, strict=True) if constant is None
        ]
        inner = self.linear(varying[0]) if len(varying) == 1 else None
        return (
            None
            if inner is None
            else inner.times(
                reduce(np.multiply, [one for one in constants if one is not None], np.ones(1))
            )
        )

    def logarithm(self, node: Node) -> Form | None:
        """The logarithm of the node as a form, where it is linear in the parameters and the node is
        positive.
        """
        constant = self.constant(node)
        if constant is not None:
            return Form({}, np.log(constant)) if (constant > 0).all() else None
        match node:
            case Symbol(name=name) if name not in self.real:
                return Form({name: np.ones(1)}, np.zeros(1))
            case Product(factors=factors):
                return _all(self.logarithm(factor) for factor in factors)
            case Power(base=base, exponent=exponent):
                return self._power(self.logarithm(base), self.linear(exponent))
            case Function(name="exp", arguments=(inner,)):
                return self.linear(inner)
        return None

    @staticmethod
    def _power(base: Form | None, exponent: Form | None) -> Form | None:
        if base is None or exponent is None or (base.feature and exponent.feature):
            return None
        return base.times(exponent.offset) if not exponent.feature else exponent.times(base.offset)

    def spread(self, node: Node) -> Node:
        """The formula with columns drawn out of the bases of powers: `(N*(1 - exp(-P/g)))^-a` is
        `N^-a * (1 - exp(-P/g))^-a`.
        """
        match node:
            case Sum(terms=terms):
                return Sum(tuple(self.spread(term) for term in terms))
            case Product(factors=factors):
                spread = [self.spread(factor) for factor in factors]
                return Product(
                    tuple(
                        part
                        for one in spread
                        for part in (one.factors if isinstance(one, Product) else (one,))
                    )
                )
            case Function(name=name, arguments=arguments):
                return Function(name, tuple(self.spread(argument) for argument in arguments))
            case Power(base=Product(factors=factors), exponent=exponent) if (
                self.logarithm(node.base) is None
            ):
                drawn = [
                    factor
                    for factor in factors
                    if self.constant(factor) is not None and self.logarithm(factor) is not None
                ]
                inside = tuple(self.spread(factor) for factor in factors if factor not in drawn)
                return Product(
                    (
                        *(Power(factor, exponent) for factor in drawn),
                        Power(Product(inside), exponent),
                    )
                )
            case Power(base=base, exponent=exponent):
                return Power(self.spread(base), exponent)
        return node

    def split(self, product: Product) -> tuple[Form, list[Node]]:
        """The factors that are one positive term together, and the others."""
        logs = [self.logarithm(factor) for factor in product.factors]
        rest = [factor for factor, log in zip(product.factors, logs, strict=True) if log is None]
        return reduce(Form.__add__, [log for log in logs if log is not None], NOTHING), rest


def _all(forms: Iterable[Form | None]) -> Form | None:
    found = NOTHING
    for form in forms:
        if form is None:
            return None
        found = found + form
    return found
