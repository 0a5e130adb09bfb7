"""How a law's coefficients are normalised: which of them takes up the scale of each term, and the
box that starts come from.

A term such as `A*N^-alpha` has a carrier, A: a positive coefficient that stands nowhere else. Its
parameter is the logarithm of the whole term at the rows' geometric mean, for a top term in units of
the target: then A and alpha are no longer correlated through the units of N. In `(a*M^eta +
b*M^-eta)*C^-eta` the scale of C goes into both a and b.

Shape letters: P parameters, N rows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from scalelab.fit import formula
from scalelab.fit.forms import NOTHING, Form, Forms
from scalelab.fit.formula import Floats, Function, Node, Power, Product, Sum, Symbol
from scalelab.fit.law import Law

FLOOR = 35.0
"""A term whose logarithm lies this far under the target's is zero in double precision."""

_FAR = 100.0
"""Where the logarithm of a term ends that is nothing at the centre and may be something at an edge
of the rows.
"""

_RAW_FAR = 200.0
"""Where the logarithm of a coefficient ends that takes up the scale of no term."""

_STEEP = 20.0
"""No exponent goes further unless its bounds say so: a term so steep is a single level of its
column.
"""

_ALIKE, _ENDED = 1 / 20, 1000.0
"""An exponential whose argument is smaller than the first in every row can hardly be told from a
line, and one whose argument is larger than the second in every row has reached its end.
"""

_ARGUMENTS = {
    **dict.fromkeys(("exp", "expm1", "exprel"), (_ALIKE, _ENDED)),
    **dict.fromkeys(("log1p", "log1prel"), (_ALIKE, np.inf)),
}
"""Function -> the limits of its argument within which the rows tell the scale of it."""

_SHOWN = 20.0
"""Starts are drawn where the largest argument is less than this."""

_TOP, _INNER, _RAW = (-4.0, 0.7), (-2.0, 2.0), (-3.0, 4.0)
_EXPONENT, _CROSSED, _ADDED = (0.02, 1.2), 0.5, (-2.0, 2.0)


@dataclass(frozen=True)
class Axis:
    """One parameter: whether it is the logarithm of a coefficient, what it may be, and the box that
    starts are drawn from.
    """

    name: str
    is_log: bool
    lower: float
    upper: float
    start: tuple[float, float]
    says: str
    """The box in words."""
    term: bool = False
    """Whether the coefficient is the carrier of a term that may vanish."""
    told: tuple[float, float] | None = None
    """Between what values of the coefficient the rows could tell it, where its limits follow from
    them.
    """


@dataclass
class Layout:
    """What is found in walking over a formula once."""

    law: Law
    forms: Forms
    unit: float
    """The size of the target: its geometric mean where it is positive."""
    carried: dict[str, tuple[Form, bool]] = field(default_factory=dict)
    """Carrier -> the logarithm of its term, and whether it is a term of the target."""
    constant: set[str] = field(default_factory=set)
    """Carriers that are a whole term by themselves."""
    added: dict[str, float] = field(default_factory=dict)
    """Real coefficient that multiplies a term of the target -> the mean size of what it
    multiplies.
    """
    crossed: dict[str, float] = field(default_factory=dict)
    """Coefficient that multiplies a logarithm in an exponent -> the largest of these logarithms."""
    scales: dict[str, list[tuple[list[float], list[float]]]] = field(default_factory=dict)
    """Coefficient -> between what logarithms of it the rows could tell it, and between what ones
    starts are drawn, for every place where it scales the argument of an exponential or logarithm.
    """
    times: Mapping[str, int] = field(default_factory=dict)
    """How often each name occurs."""

    @classmethod
    def of(cls, law: Law, tree: Node, forms: Forms, y_N: Floats) -> "Layout":
        """Walk over the law's formula, given as the tree that is compiled."""
        unit = float(
            np.exp(np.log(y_N).mean()) if (y_N > 0).all() else max(np.abs(y_N).mean(), 1e-300)
        )
        layout = cls(law, forms, unit, times=Counter(_symbols(tree)))
        layout._visit(tree, NOTHING, top=True)
        return layout

    def _visit(self, node: Node, outer: Form, *, top: bool) -> None:
        logarithm = self.forms.logarithm(node)
        if logarithm is not None:
            self._carry(outer + logarithm, top=top)
            if top and isinstance(node, Symbol) and not outer.feature:
                self.constant.add(node.name)
        match node:
            case Sum(terms=terms):
                for term in terms:
                    self._visit(term, outer, top=top)
            case Product() if logarithm is None:
                self._visit_product(node, outer, top=top)
            case Symbol(name=name) if name in self.forms.real and top:
                self.added[name] = float(np.exp(outer.offset.mean())) if not outer.feature else 1.0
            case Power(base=base, exponent=exponent):
                if logarithm is None:
                    self._visit(base, NOTHING, top=False)
                self._cross(exponent)
            case Function(name=name, arguments=arguments) if logarithm is None:
                if name in _ARGUMENTS:
                    self._scale(arguments[0], *_ARGUMENTS[name])
                for argument in arguments:
                    self._visit(argument, NOTHING, top=False)
        for child in formula.children(node) if logarithm is not None else ():
            if isinstance(child, Power):
                self._cross(child.exponent)

    def _visit_product(self, node: Product, outer: Form, *, top: bool) -> None:
        """The scale goes to the product's own carrier, or else to every term of a sum in it."""
        form, rest = self.forms.split(node)
        rest = [factor for factor in rest if self.forms.constant(factor) is None]
        carried = self._carry(outer + form, top=top)
        passed = NOTHING if carried else outer + form
        for factor in rest:
            shared = len(rest) == 1 and isinstance(factor, Sum | Symbol)
            self._visit(
                factor,
                passed if shared else NOTHING,
                top=top and shared and not carried,
            )
        for factor in node.factors:
            if isinstance(factor, Power):
                self._cross(factor.exponent)

    def _carry(self, term: Form, *, top: bool) -> bool:
        for name, value in term.feature.items():
            alone = (
                self.times[name] == 1
                and name not in self.forms.real
                and name not in self.law.bounds
            )
            if alone and np.ptp(value) == 0 and value[0] != 0:
                self.carried[name] = (term, top)
                return True
        return False

    def _scale(self, node: Node, least: float, most: float) -> None:
        """Where a node is columns times a power of one coefficient: the limits between which it
        exceeds `least` in some row and stays below `most` in another.
        """
        form, size_N = NOTHING, np.ones(1)
        for factor in formula.factors(node):
            constant, logarithm = self.forms.constant(factor), self.forms.logarithm(factor)
            if constant is not None:
                size_N = size_N * np.abs(constant)
            elif logarithm is not None:
                form = form + logarithm
            else:
                return
        size_N = size_N * np.exp(form.offset)
        size_N = size_N[(size_N > 0) & np.isfinite(size_N)]
        if len(form.feature) != 1 or not size_N.size:
            return
        [(name, power_N)] = form.feature.items()
        if name in self.forms.real or np.ptp(power_N) > 0 or power_N[0] == 0:
            return
        line, end, shown = np.log([least, most, _SHOWN]) / power_N[0]
        largest, smallest = np.log([size_N.max(), size_N.min()]) / power_N[0]
        told = sorted((line - largest, end - smallest))
        start = sorted((line - largest, shown - largest))
        self.scales.setdefault(name, []).append((told, start))

    def _cross(self, exponent: Node) -> None:
        linear = self.forms.linear(exponent)
        for name, value in linear.feature.items() if linear else ():
            if np.ptp(value) > 0:
                self.crossed[name] = float(np.abs(value).max())

    def normalisation(self) -> tuple[Floats, Floats]:
        """Matrix [P, P] and shift [P] from coefficients, or their logarithms, to normalised
        parameters.
        """
        free = self.law.free
        matrix_PP, shift_P = np.eye(len(free)), np.zeros(len(free))
        for row, name in enumerate(free):
            if name in self.carried:
                term, top = self.carried[name]
                for other, value in term.feature.items():
                    matrix_PP[row, free.index(other)] = value.mean()
                shift_P[row] = term.offset.mean() - (np.log(self.unit) if top else 0.0)
                if matrix_PP[row, row] < 0:
                    matrix_PP[row], shift_P[row] = -matrix_PP[row], -shift_P[row]
            elif name in self.added:
                matrix_PP[row, row] = self.added[name] / self.unit
        return matrix_PP, shift_P

    def axes(self) -> tuple[Axis, ...]:
        """The parameters with their limits and the box of starts."""
        return tuple(self._axis(name) for name in self.law.free)

    def _axis(self, name: str) -> Axis:
        is_exponent = name in self.forms.real and name not in self.added
        low, high = self.law.bounds.get(
            name, (-_STEEP, _STEEP) if is_exponent else (-np.inf, np.inf)
        )
        scale = self._scale_axis(name)
        if scale is not None:
            return scale
        if name in self.carried:
            top = self.carried[name][1]
            box = _TOP if top else _INNER
            what = (
                "its term is {:.2g} to {:.2g} times the target"
                if top
                else "its term is {:.2g} to {:.2g}"
            )
            lower = -FLOOR if name in self.constant else -_FAR
            return Axis(
                name,
                True,
                lower,
                FLOOR if top else _FAR,
                box,
                f"{name}: {what.format(*np.exp(box))} at the centre",
                top,
            )
        if name not in self.forms.real:
            with np.errstate(divide="ignore"):
                lower, upper = np.log(max(low, 0.0)), np.log(high)
            lower, upper = max(lower, -_RAW_FAR), min(upper, _RAW_FAR)
            box = _within(_RAW, lower, upper)
            return Axis(
                name,
                True,
                float(lower),
                float(upper),
                box,
                "{}: {:.2g} to {:.2g}".format(name, *np.exp(box)),
            )
        if name in self.added:
            unit = self.unit / self.added[name]
            box = _within(_ADDED, low / unit, high / unit)
            return Axis(
                name,
                False,
                low / unit,
                high / unit,
                box,
                f"{name}: {box[0] * unit:.2g} to {box[1] * unit:.2g}",
            )
        crossed = _CROSSED / self.crossed[name] if name in self.crossed else 0.0
        box = _within((-crossed, crossed) if crossed else _EXPONENT, low, high)
        return Axis(name, False, low, high, box, f"{name}: {box[0]:.2g} to {box[1]:.2g}")

    def _scale_axis(self, name: str) -> Axis | None:
        """The axis of a coefficient that only scales arguments; None for any other, and where it
        has bounds of its own.
        """
        scales = self.scales.get(name, [])
        if name in self.law.bounds or not scales or len(scales) != self.times[name]:
            return None
        low_2, high_2 = np.min(scales, axis=0)[:, 0], np.max(scales, axis=0)[:, 1]
        ends = np.clip([low_2[0], high_2[0]], -_RAW_FAR, _RAW_FAR)
        box = np.clip([low_2[1], high_2[1]], *ends)
        index, (matrix_PP, shift_P) = self.law.free.index(name), self.normalisation()
        lower, upper = np.sort(matrix_PP[index, index] * ends + shift_P[index]).tolist()
        start = np.sort(matrix_PP[index, index] * box + shift_P[index]).tolist()
        told = (float(np.exp(ends[0])), float(np.exp(ends[1])))
        says = "{}: {:.2g} to {:.2g}".format(name, *np.exp(box))
        return Axis(name, True, lower, upper, (start[0], start[1]), says, told=told)


def _within(box: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The part of a box that bounds allow, or what they allow next to it where that is nothing."""
    inside = (max(box[0], low), min(box[1], high))
    if inside[0] < inside[1]:
        return inside
    width = box[1] - box[0]
    return (low, min(high, low + width)) if np.isfinite(low) else (high - width, high)


def _symbols(node: Node) -> Iterator[str]:
    if isinstance(node, Symbol):
        yield node.name
    for child in formula.children(node):
        yield from _symbols(child)
