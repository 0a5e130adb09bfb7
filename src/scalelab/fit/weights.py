"""Weights of rows as an expression of columns: `extra.weight`, `1/sd^2`, `N/budget.tokens`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalelab.core.errors import UserError
from scalelab.fit import formula
from scalelab.fit.formula import Floats, Node, Symbol
from scalelab.fit.law import Law

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+")

_ROOMS = ("", "extra.", "metrics.")
"""Where a bare name is looked for, in this order."""


@dataclass(frozen=True)
class Weights:
    """An expression and the column that each of its names stands for."""

    text: str
    tree: Node
    columns: Mapping[str, str]

    @classmethod
    def of(cls, text: str, law: Law, known: Sequence[str]) -> "Weights":
        """Read an expression of a table's columns, of which `known` are the names.

        A name is a symbol of the law, a column, or a column without its `extra.` or `metrics.`.
        Raises UserError where the text is no expression.
        """
        if text in known:
            return cls(text, Symbol(text), {text: text})
        dotted = list(dict.fromkeys(_DOTTED.findall(text)))
        symbols = {name: f"column_{index}" for index, name in enumerate(dotted)}
        tree = formula.parse(_DOTTED.sub(lambda found: symbols[found.group()], text))
        columns = {symbol: name for name, symbol in symbols.items()}
        for name in formula.names(tree):
            if name not in columns:
                columns[name] = law.columns.get(name) or _column(name, known)
        if not columns:
            raise UserError(
                f"the weights `{text}` name no column", cure="write them like --weights 1/sd^2"
            )
        return cls(text, tree, columns)

    def evaluate(self, named: Mapping[str, Floats]) -> Floats:
        """[N] the weights from columns by name.

        Raises UserError where one is no number.
        """
        values = {symbol: named[column] for symbol, column in self.columns.items()}
        weight_N = formula.evaluate(self.tree, values)
        for row in np.flatnonzero(~np.isfinite(weight_N)):
            said = ", ".join(
                f"`{column}` {named[column][row]:g}" for column in self.columns.values()
            )
            raise UserError(
                f"the weight `{self.text}` is {weight_N[row]:g} in a row with {said}",
                cure="leave such rows out with --filter",
            )
        return weight_N


def _column(name: str, known: Sequence[str]) -> str:
    return next((room + name for room in _ROOMS if room + name in known), name)
