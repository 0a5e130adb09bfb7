"""The columns of a table of trials by name: lengths under any of their names, computed from one
another where they are missing.

A stopped trial has run a part of its budget, `step` of `steps`: its lengths are that part.
"""

import polars as pl

from scalelab.core import metrics
from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError, nearest
from scalelab.fit.law import Law

LENGTHS = ("steps", "tokens", "flops", "exposures")

_BY_RULE = {
    "tokens": ("flops", lambda flops, params: flops / (6 * params), "{flops} / (6 {params})"),
    "flops": ("tokens", lambda tokens, params: 6 * params * tokens, "6 {params} {tokens}"),
}
"""C = 6 N D, forward and backward pass (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""


class Columns:
    """Looks columns up in a frame of trials, for one law. `notes` says what was computed."""

    def __init__(self, frame: pl.DataFrame, law: Law) -> None:
        self.frame, self.notes = frame, list[str]()
        self.params = next(
            (name for name in law.columns.values() if name.startswith("params.")), "params.total"
        )

    def column(self, name: str) -> pl.Series:
        """A column of numbers, null where a row has none.

        Raises UserError where it is missing, or not of numbers.
        """
        length = name.removeprefix("budget.")
        found = self._length(length) if length in LENGTHS else self._plain(name)
        if found is not None and found.null_count() < len(found):
            return found
        partner = _BY_RULE.get(length, ("",))[0]
        also = (
            f", and no `budget.{partner}` with `{self.params}` to compute it from"
            if partner
            else ""
        )
        known = [
            column
            for column in self.frame.columns
            if self.frame[column].null_count() < self.frame.height
        ]
        raise UserError(f"the table has no column `{name}`{also}", cure=nearest(name, known))

    def _plain(self, name: str) -> pl.Series | None:
        if name not in self.frame.columns:
            return None
        check_range(self.frame, name)
        column = self.frame[name]
        if column.dtype.is_numeric() or column.dtype == pl.Null:
            return column.cast(pl.Float64)
        raise UserError(
            f"`{name}` is no column of numbers: it holds {_example(column)}",
            cure="map it to numbers, or name another column",
        )

    def _length(self, length: str) -> pl.Series | None:
        """The length as it was run, from its own columns, else from its partner by C = 6 N D."""
        found = self._read(length)
        params = self._plain(self.params)
        if (
            length not in _BY_RULE
            or params is None
            or (found is not None and not found.null_count())
        ):
            return found
        partner, rule, said = _BY_RULE[length]
        other = self._read(partner)
        if other is None:
            return found
        self.notes.append(
            f"{length} = {said.format(**{partner: f'budget.{partner}', 'params': self.params})}"
        )
        computed = rule(other, params)
        return computed if found is None else found.zip_with(found.is_not_null(), computed)

    def _read(self, length: str) -> pl.Series | None:
        """What the table says itself.

        `tokens` is what a trial was planned with, `budget.tokens` what was asked for.
        """
        columns = [
            column
            for name in (length, f"budget.{length}")
            if (column := self._plain(name)) is not None
        ]
        if not columns:
            return None
        found = columns[0].zip_with(columns[0].is_not_null(), columns[-1])
        return found * self._part()

    def _part(self) -> pl.Series:
        """[N] the part of its budget that each trial ran."""
        ones = pl.Series([1.0] * self.frame.height)
        if not {"state", "step", "steps"} <= set(self.frame.columns):
            return ones
        part = self.frame["step"].cast(pl.Float64) / self.frame["steps"].cast(pl.Float64)
        return part.zip_with((self.frame["state"] == "stopped") & part.is_not_null(), ones)


def check_range(frame: pl.DataFrame, name: str) -> None:
    """Raises UserError with the trial where a metric has a value that it cannot have."""
    metric, column = metrics.metric_of(name), frame[name]
    is_number = metrics.is_metric(name) and column.dtype.is_numeric()
    known = metrics.find(metric) if is_number else None
    if known is None:
        return
    value = column.cast(pl.Float64)
    low, high = known.low - metrics.ROUNDING, known.high + metrics.ROUNDING
    impossible = (value.is_finite() & ((value < low) | (value > high))).fill_null(False)
    row = impossible.arg_max() if impossible.any() else None
    if row is not None:
        digest = frame["digest"][row][:SHORT] if "digest" in frame.columns else f"row {row + 1}"
        is_imported = "origin" in frame.columns and frame["origin"][row] == "imported"
        bound = f"<= {known.high:g}" if value[row] > high else f">= {known.low:g}"
        raise UserError(
            f"`{name}` is {value[row]:g} in {digest}, and it can only be {known.describe()}",
            cure=f"import the table again, and in its mapping {metrics.cure(metric)}"
            if is_imported
            else f"leave such trials out with `--filter '{name} {bound}'`",
        )


def _example(column: pl.Series) -> str:
    return next(
        (f"{value!r}" for value in column if value is not None and not _is_number(value)), "text"
    )


def _is_number(value: object) -> bool:
    try:
        return float(str(value)) == float(str(value))
    except ValueError:
        return False


def usual_target(frame: pl.DataFrame, target: str) -> str:
    """What a law of `target` is fitted to where nobody says: of the training loss, the test loss
    where runs were tested.
    """
    tested = "metrics.test_loss"
    known = (
        target == "metrics.loss"
        and tested in frame.columns
        and bool(frame[tested].drop_nulls().is_finite().any())
    )
    return tested if known else target
