"""The rows that a law is fitted to: its columns as float64, which rows are replicates, and what was
left out and why.

Shape letters: N rows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError, nearest
from scalelab.fit import formula
from scalelab.fit.censored import Floats
from scalelab.fit.columns import Columns
from scalelab.fit.formula import Function, Node, Number, Power, Sum
from scalelab.fit.law import Law
from scalelab.fit.laws import LAWS
from scalelab.fit.weights import Weights

USED = ("done", "stopped")
"""States whose numbers are used: a stopped trial counts with the length that it ran."""

UNFINISHED = ("missing", "queued", "running")


@dataclass(frozen=True)
class Sample:
    """Rows of a table as a law sees them. `columns` is by the symbols of the law."""

    columns: Mapping[str, Floats]
    y_N: Floats
    weight_N: Floats
    cluster_N: np.ndarray
    """Index of the configuration: rows of one differ in nothing but the seed."""
    digests: tuple[str, ...]
    states: tuple[str, ...]
    dropped: Mapping[str, int]
    """Why rows were left out -> how many."""
    rows: int
    """Rows before any was left out."""
    notes: tuple[str, ...] = ()
    """What was computed and not read, as sentences."""

    @property
    def configurations(self) -> int:
        """How many different configurations there are."""
        return int(self.cluster_N.max()) + 1

    def fingerprint(self) -> str:
        """Digest of the values, in the order of the rows."""
        values = {name: column.tolist() for name, column in sorted(self.columns.items())}
        return sha256(
            [
                values,
                self.y_N.tolist(),
                self.weight_N.tolist(),
                self.cluster_N.tolist(),
                self.digests,
            ]
        )

    def take(self, kept_N: np.ndarray) -> "Sample":
        """The rows of a mask; configurations are counted anew."""
        index = np.flatnonzero(kept_N)
        return Sample(
            {name: column[index] for name, column in self.columns.items()},
            self.y_N[index],
            self.weight_N[index],
            np.unique(self.cluster_N[index], return_inverse=True)[1],
            tuple(self.digests[row] for row in index),
            tuple(self.states[row] for row in index),
            {},
            len(index),
            self.notes,
        )


def sample(frame: pl.DataFrame, law: Law) -> Sample:
    """The rows of a frame of trials (`store.frames.trials`) that a law can be fitted to.

    Raises UserError for a table without rows, an unknown column, text, NaN, a target that has no
    logarithm where one is taken, predictors that are all equal, and more coefficients than rows.
    """
    if frame.is_empty():
        raise UserError(
            "there are no rows to fit",
            cure="loosen the filter, or name another table or experiment",
        )
    if not law.columns:
        what = f"the law `{law.formula}` has coefficients only ({', '.join(law.coefficients)})"
        raise UserError(
            what,
            cure=(
                "name its columns, as --column X=params.total, or a law:"
                f" {nearest(law.formula, list(LAWS))}"
            ),
        )
    if not law.coefficients:
        raise UserError(
            f"the law `{law.formula}` has no coefficients", cure="write it like A*N^-alpha"
        )
    if law.target in law.columns.values():
        raise UserError(
            f"`{law.target}` is the target and a predictor", cure="give one of them another column"
        )
    states = frame["state"].to_list() if "state" in frame.columns else []
    dropped = Counter(
        "unfinished" if state in UNFINISHED else state for state in states if state not in USED
    )
    used = frame.filter(pl.col("state").is_in(USED)) if "state" in frame.columns else frame
    if used.is_empty():
        said = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"no row has a result: {said}", cure="run the experiment to its end, or name another"
        )
    table = Columns(used, law)
    series = {symbol: table.column(name) for symbol, name in law.columns.items()}
    named = {
        **{law.columns[symbol]: column for symbol, column in series.items()},
        law.target: table.column(law.target),
    }
    weights = None if law.weights is None else Weights.of(law.weights, law, frame.columns)
    for name in weights.columns.values() if weights is not None else ():
        named[name] = table.column(name)
    complete_N = np.ones(used.height, dtype=bool)
    for name, column in named.items():
        dropped.update({f"without `{name}`": int(np.sum(complete_N & column.is_null().to_numpy()))})
        complete_N &= column.is_not_null().to_numpy()
    values = {name: _floats(column, name, complete_N) for name, column in named.items()}
    counted = {reason: count for reason, count in dropped.items() if count}
    whole = replace(
        _assemble(used.filter(pl.Series(complete_N)), law, values, weights),
        dropped=counted,
        rows=frame.height,
        notes=tuple(table.notes),
    )
    _check(whole, law)
    return whole


def run_table(frame: pl.DataFrame, target: str, columns: Mapping[str, str] | None = None) -> Sample:
    """Parameters `N`, tokens `D`, FLOPs `C` and the target of the rows that have all of them.

    `columns` names other columns for these. Raises UserError as `sample` does.
    """
    named = {"N": "params.total", "D": "budget.tokens", "C": "budget.flops"}
    for symbol in columns or {}:
        if symbol not in named:
            raise UserError(f"a table of runs has no `{symbol}`", cure=nearest(symbol, list(named)))
    law = Law("runs", "E + N*D*C", {**named, **(columns or {})}, target, residual="linear")
    return sample(frame, law)


def _floats(column: pl.Series, name: str, complete_N: np.ndarray) -> Floats:
    """The rows that are complete, as float64: a product of 64-bit integers would overflow."""
    values = column.filter(pl.Series(complete_N)).cast(pl.Float64).to_numpy()
    for row in np.flatnonzero(~np.isfinite(values)):
        raise UserError(
            f"`{name}` is {values[row]} in a row",
            cure=f"leave such rows out, as --filter '{name} < 1e30' does",
        )
    return values


def _assemble(
    frame: pl.DataFrame, law: Law, named: Mapping[str, Floats], weights: Weights | None
) -> Sample:
    columns = {symbol: named[name] for symbol, name in law.columns.items()}
    if "configuration" in frame.columns:
        places = frame["configuration"].to_list()
    else:
        places = list(zip(*(column.tolist() for column in columns.values()), strict=True))
    index = {place: number for number, place in enumerate(dict.fromkeys(places))}
    return Sample(
        columns,
        y_N=named[law.target],
        weight_N=np.ones(frame.height) if weights is None else weights.evaluate(named),
        cluster_N=np.array([index[place] for place in places], dtype=np.int64),
        digests=tuple(frame["digest"]) if "digest" in frame.columns else ("",) * frame.height,
        states=tuple(frame["state"]) if "state" in frame.columns else ("done",) * frame.height,
        dropped={},
        rows=frame.height,
    )


def _check(rows: Sample, law: Law) -> None:
    """Raises UserError where the law can't be fitted to these rows at all."""
    count = rows.y_N.size
    if count < 2:
        what = "there is one row" if count else "no row has all the columns: " + _said(rows.dropped)
        raise UserError(
            f"{what}, and a law is fitted to many", cure="loosen the filter, or add runs"
        )
    if law.residual == "log" and (rows.y_N <= 0).any():
        worst = float(rows.y_N.min())
        cure = f"leave such rows out with --filter '{law.target} > 0', or take --residual linear"
        raise UserError(
            f"`{law.target}` is {worst:g} in a row, and its logarithm is taken", cure=cure
        )
    if np.ptp(rows.y_N) == 0:
        what = (
            f"every row has the same `{law.target}` ({rows.y_N[0]:g}): it depends on nothing here"
        )
        raise UserError(what, cure="take another target, or add runs that differ in it")
    if (rows.weight_N < 0).any() or not (rows.weight_N > 0).any():
        raise UserError(
            f"the weights `{law.weights}` are negative, or all zero",
            cure="give a column, or an expression of columns, that is positive",
        )
    _check_powers(rows, law)
    _check_equal(rows, law)
    if count < len(law.free):
        cure = f"fix or tie some (there are {', '.join(law.free)}), take a simpler law, or add runs"
        raise UserError(
            f"the law `{law.name}` has {len(law.free)} coefficients, and there are {count} rows",
            cure=cure,
        )


def _said(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items())


def _check_powers(rows: Sample, law: Law) -> None:
    """What is raised to a power, or whose logarithm is taken, must be positive, where it is made of
    columns alone.
    """
    for base, _ in _powers(law.reduced):
        symbols = formula.names(base)
        if symbols and set(symbols) <= set(rows.columns):
            value_N = np.broadcast_to(formula.evaluate(base, rows.columns), rows.y_N.shape)
            for row in np.flatnonzero(~(value_N > 0) | ~np.isfinite(value_N)):
                said = " and ".join(
                    f"`{law.columns[symbol]}` is {rows.columns[symbol][row]:g}"
                    for symbol in symbols
                )
                raise UserError(
                    f"{said} in a row, and a power of it is taken",
                    cure="leave such rows out with --filter",
                )


def _check_equal(rows: Sample, law: Law) -> None:
    """A power of what is the same in every row is a constant: nothing tells its
    coefficients apart.
    """
    equal = {symbol for symbol, column in rows.columns.items() if np.ptp(column) == 0}
    for base, exponent in [
        *_powers(law.reduced),
        *([] if equal < set(rows.columns) else [(law.reduced, law.reduced)]),
    ]:
        symbols = [symbol for symbol in formula.names(base) if symbol in rows.columns]
        if symbols and equal.issuperset(symbols) and set(formula.names(exponent)) & set(law.free):
            said = " and ".join(
                f"`{law.columns[symbol]}` ({rows.columns[symbol][0]:g})" for symbol in symbols
            )
            cure = "take a law without it, or add runs that differ in it"
            raise UserError(
                f"every row has the same {said}, so that the law `{law.name}` cannot be told from a"
                " simpler one",
                cure=cure,
            )


def _powers(node: Node) -> Iterator[tuple[Node, Node]]:
    """Every (base, exponent) of a formula; a logarithm counts as one."""
    if isinstance(node, Power):
        yield node.base, node.exponent
    elif isinstance(node, Function) and node.name == "log":
        yield node.arguments[0], node.arguments[0]
    elif isinstance(node, Function) and node.name == "log1p":
        yield Sum((Number(1.0), *node.arguments)), node.arguments[0]
    for child in formula.children(node):
        yield from _powers(child)


def describe(dropped: Mapping[str, int]) -> str:
    """`3 diverged, 1 unfinished`, or `none`."""
    return _said(dropped) or "none"
