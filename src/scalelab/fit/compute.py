"""The best split of compute under a law of parameters and tokens: N*(C), D*(C) and the loss there,
for many sets of coefficients.

C = 6 N D. For E + A N^-alpha + B D^-beta in closed form: N* = G (C/6)^a, D* = (C/6)^b / G, a = beta
/ (alpha + beta), b = alpha / (alpha + beta), G = (alpha A / (beta B))^(1 / (alpha + beta))
(Hoffmann et al. 2022, arXiv 2203.15556, equation 4). Other laws by golden section in log N.

Shape letters: S sets of coefficients, X budgets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalelab.fit import formula
from scalelab.fit.formula import Floats, Node, Number, Power, Product, Sum, Symbol
from scalelab.fit.law import Law

Sets = Mapping[str, Floats]
"""Coefficient -> its value in every set, [S]."""

FLOPS = 6.0

STEPS = 70
"""Golden sections of a range of e^60 in N: to 1e-13 of a logarithm, beyond what a minimum can be
told by.
"""

_GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Split:
    """Parameters and tokens of least loss at each budget; NaN where a set of coefficients has no
    such point.
    """

    flops_X: Floats
    params_SX: Floats
    tokens_SX: Floats
    loss_SX: Floats


@dataclass(frozen=True)
class Terms:
    """Names of the coefficients in A N^-alpha + B D^-beta."""

    a: str
    alpha: str
    b: str
    beta: str


def symbols_of(law: Law) -> tuple[str, str] | None:
    """The law's symbols for parameters and tokens; None where it has not just these two columns."""
    params = [symbol for symbol, column in law.columns.items() if column.startswith("params.")]
    tokens = [
        symbol for symbol, column in law.columns.items() if column in ("budget.tokens", "tokens")
    ]
    return (
        (params[0], tokens[0])
        if len(params) == len(tokens) == 1 and len(law.columns) == 2
        else None
    )


def terms_of(law: Law) -> Terms | None:
    """The names of the coefficients, where the law is a power of parameters plus a power of tokens
    (plus what has neither).
    """
    symbols = symbols_of(law)
    if symbols is None or not isinstance(law.tree, Sum):
        return None
    found: dict[str, tuple[str, str]] = {}
    for term in law.tree.terms:
        inside = [symbol for symbol in symbols if symbol in formula.names(term)]
        power = _power_term(term, inside[0]) if len(inside) == 1 else None
        if not inside:
            continue
        if power is None or inside[0] in found:
            return None
        found[inside[0]] = power
    if len(found) < 2 or len({*found[symbols[0]], *found[symbols[1]]}) < 4:
        return None
    return Terms(*found[symbols[0]], *found[symbols[1]])


def _power_term(term: Node, symbol: str) -> tuple[str, str] | None:
    """`A*N^-alpha`, or `A/N^alpha`, which is `A*(N^alpha)^-1` -> (A, alpha)."""
    match term:
        case Product(factors=(Symbol(name=a), Power(base=base, exponent=exponent))):
            match base, exponent:
                case Symbol(name=name), Product(factors=(Number(value=-1.0), Symbol(name=alpha))):
                    return (a, alpha) if name == symbol else None
                case Power(base=Symbol(name=name), exponent=Symbol(name=alpha)), Number(value=-1.0):
                    return (a, alpha) if name == symbol else None
    return None


def split_compute(law: Law, sets: Sets, flops_X: Floats) -> Split | None:
    """The best split of each budget; None where the law is not one of parameters and
    tokens alone.
    """
    symbols = symbols_of(law)
    if symbols is None:
        return None
    terms = terms_of(law)
    with np.errstate(all="ignore"):
        if terms is None:
            log_SX = _golden(law, symbols, sets, flops_X)
        else:
            exponent_S = sets[terms.beta] / (sets[terms.alpha] + sets[terms.beta])
            log_gain_S = np.log(gain(terms, sets))
            log_SX = log_gain_S[:, None] + exponent_S[:, None] * np.log(flops_X / FLOPS)
        params_SX = np.exp(log_SX)
        tokens_SX = flops_X / (FLOPS * params_SX)
        loss_SX = _loss(law, symbols, sets, log_SX, flops_X)
    return Split(flops_X, params_SX, tokens_SX, np.where(np.isnan(log_SX), np.nan, loss_SX))


def gain(terms: Terms, sets: Sets) -> Floats:
    """[S] G of the closed form."""
    a, alpha, b, beta = sets[terms.a], sets[terms.alpha], sets[terms.b], sets[terms.beta]
    with np.errstate(all="ignore"):
        return np.where(
            (alpha > 0) & (beta > 0), (alpha * a / (beta * b)) ** (1 / (alpha + beta)), np.nan
        )


def _golden(law: Law, symbols: tuple[str, str], sets: Sets, flops_X: Floats) -> Floats:
    """[S, X] log N of least loss between one parameter and one token; NaN where the least is at an
    end.
    """
    size = len(next(iter(sets.values())))
    low_SX = np.zeros((size, flops_X.size))
    high_SX = np.broadcast_to(np.log(flops_X / FLOPS), low_SX.shape).copy()
    end_SX = high_SX
    for _ in range(STEPS):
        width_SX = _GOLDEN * (high_SX - low_SX)
        left_SX, right_SX = high_SX - width_SX, low_SX + width_SX
        left_is_less = _loss(law, symbols, sets, left_SX, flops_X) < _loss(
            law, symbols, sets, right_SX, flops_X
        )
        low_SX, high_SX = (
            np.where(left_is_less, low_SX, left_SX),
            np.where(left_is_less, right_SX, high_SX),
        )
    middle_SX = (low_SX + high_SX) / 2
    return np.where((middle_SX > 1e-6) & (middle_SX < end_SX - 1e-6), middle_SX, np.nan)


def _loss(
    law: Law, symbols: tuple[str, str], sets: Sets, log_SX: Floats, flops_X: Floats
) -> Floats:
    params_SX = np.exp(log_SX)
    values = {name: value_S[:, None] for name, value_S in sets.items()}
    found = formula.evaluate(
        law.tree, {**values, symbols[0]: params_SX, symbols[1]: flops_X / (FLOPS * params_SX)}
    )
    return np.broadcast_to(found, log_SX.shape)
