"""What follows from a law's coefficients, each with an interval from the same draws as theirs.

Shape letters: S sets of coefficients (the estimate first, then the draws), N rows, X places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalelab.core import seeds
from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import metric_of
from scalelab.fit import formula
from scalelab.fit.compute import FLOPS, Sets, gain, split_compute, symbols_of, terms_of
from scalelab.fit.estimate import Estimate, estimate
from scalelab.fit.formula import Floats
from scalelab.fit.law import Law
from scalelab.fit.sample import Sample

AHEAD = 10.0
"""Where no place is named, a law is asked at the data's largest compute (or size) and this many
times beyond.
"""

SIZES = ("params.", "budget.", "tokens", "flops", "model.")
"""Columns in which a law is asked beyond the data."""

At = Mapping[str, float]
"""Where the law is asked: `flops` alone (the best split of that compute), or every symbol of the
law.
"""


def derive(
    law: Law,
    sample: Sample,
    sets: Sets,
    error_N: Floats,
    *,
    at: Sequence[At] = (),
    seed: int = 0,
    stretch: float = 1.0,
) -> dict[str, Estimate]:
    """Exponents of N*(C) and D*(C), the best split at budgets, the target at places; in the order
    in which they are shown.

    `sets` holds the estimate and then the draws; `error_N` what runs deviate by in the law's
    residual space, for intervals of one more run. Raises UserError as `check_places` does.
    """
    found = dict[str, Estimate]()
    check_places(law, at)
    budgets = [place["flops"] for place in at if set(place) == {"flops"}]
    places = [_place(law, place) for place in at if set(place) != {"flops"}]
    ask = _Ask(law, sets, error_N, seed, stretch)
    if symbols_of(law) is not None:
        found |= _exponents(ask, sample)
        for flops in dict.fromkeys([*budgets_of(law, sample), *budgets]):
            found |= _split(ask, flops)
    elif len(law.columns) == 1 and next(iter(law.columns.values())).startswith(SIZES):
        [(symbol, column_N)] = sample.columns.items()
        places = [{symbol: AHEAD * float(column_N.max())}, *places]
    for place in places:
        said = ", ".join(f"{symbol}={value:.3g}" for symbol, value in place.items())
        found[f"{ask.target}({said})"] = ask.runs(_value(law, sets, place))
    return found


def check_places(law: Law, at: Sequence[At]) -> None:
    """Raises UserError for a place that does not name the law's symbols, or `flops` where the law
    can't split it, or is not positive.
    """
    for place in at:
        if set(place) == {"flops"} and symbols_of(law) is None:
            raise UserError(
                f"`{law.name}` is no law of parameters and tokens alone",
                cure=f"name every column, as --at {_example(law)}",
            )
        if any(value <= 0 for value in place.values()):
            raise UserError(
                f"the place {_said(place)} is not positive",
                cure=f"write it like --at {_example(law)}",
            )
        if set(place) != {"flops"}:
            _place(law, place)


@dataclass(frozen=True)
class _Ask:
    law: Law
    sets: Sets
    error_N: Floats
    seed: int
    stretch: float

    @property
    def target(self) -> str:
        """What the law predicts, as a key says it."""
        return metric_of(self.law.target)

    def mean(self, value_S: Floats) -> Estimate:
        """The first set's value with the interval of the others."""
        return estimate(float(value_S[0]), value_S[1:], stretch=self.stretch)

    def runs(self, value_S: Floats) -> Estimate:
        """The same, with the interval of one more run."""
        run_B = with_errors(self.law, self.error_N, value_S[1:, None], self.seed)[:, 0]
        return estimate(float(value_S[0]), value_S[1:], run_B, self.stretch)


def with_errors(law: Law, error_N: Floats, value_BX: Floats, seed: int) -> Floats:
    """[B, X] what one more run would show in every draw: the law's value with an error drawn from
    those of the rows.
    """
    error_BX = np.random.default_rng(seeds.derive(seed, "runs")).choice(
        error_N, size=value_BX.shape
    )
    return value_BX * np.exp(error_BX) if law.residual == "log" else value_BX + error_BX


def budgets_of(law: Law, sample: Sample) -> list[float]:
    """The data's largest compute, and ten times that."""
    symbols = symbols_of(law)
    if symbols is None:
        return []
    largest = float((FLOPS * sample.columns[symbols[0]] * sample.columns[symbols[1]]).max())
    return [largest, AHEAD * largest]


def _exponents(ask: _Ask, sample: Sample) -> dict[str, Estimate]:
    """a, b and G; where the law has no closed form, the slopes of log N* and log D* at the data's
    largest compute.
    """
    terms = terms_of(ask.law)
    if terms is not None:
        alpha_S, beta_S = ask.sets[terms.alpha], ask.sets[terms.beta]
        with np.errstate(all="ignore"):
            a_S: Floats = np.where(
                (alpha_S > 0) & (beta_S > 0), beta_S / (alpha_S + beta_S), np.nan
            )
        return {"a": ask.mean(a_S), "b": ask.mean(1 - a_S), "G": ask.mean(gain(terms, ask.sets))}
    largest = budgets_of(ask.law, sample)[0]
    split = split_compute(ask.law, ask.sets, np.array([largest / 2, largest * 2], np.float64))
    assert split is not None
    a_S = np.log(split.params_SX[:, 1] / split.params_SX[:, 0]) / np.log(4)
    return {"a": ask.mean(a_S), "b": ask.mean(1 - a_S)}


def _split(ask: _Ask, flops: float) -> dict[str, Estimate]:
    split = split_compute(ask.law, ask.sets, np.array([flops]))
    assert split is not None
    params_S, tokens_S, loss_S = split.params_SX[:, 0], split.tokens_SX[:, 0], split.loss_SX[:, 0]
    at = f"({flops:.4g})"
    return {
        f"N*{at}": ask.mean(params_S),
        f"D*{at}": ask.mean(tokens_S),
        f"D/N{at}": ask.mean(tokens_S / params_S),
        f"{ask.target}{at}": ask.runs(loss_S),
    }


def _value(law: Law, sets: Sets, place: At) -> Floats:
    found = formula.evaluate(law.tree, {**sets, **place})
    return np.broadcast_to(found, len(next(iter(sets.values()))))


def _place(law: Law, place: At) -> dict[str, float]:
    """The place by the law's symbols; a column's own name is understood too."""
    symbols = {column: symbol for symbol, column in law.columns.items()}
    named = {symbols.get(name, name): value for name, value in place.items()}
    for name in named:
        if name not in law.columns:
            raise UserError(
                f"the law `{law.name}` has no column `{name}`",
                cure=nearest(name, list(law.columns)),
            )
    for symbol in law.columns:
        if symbol not in named:
            raise UserError(
                f"the place {_said(place)} leaves out `{symbol}`",
                cure=f"write it like --at {_example(law)}",
            )
    return {symbol: named[symbol] for symbol in law.columns}


def _said(place: At) -> str:
    return ",".join(f"{name}={value:g}" for name, value in place.items())


def _example(law: Law) -> str:
    return ",".join(f"{symbol}=1e9" for symbol in law.columns)
