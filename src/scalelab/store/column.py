"""One column of a published table: what it is of a trial, and how its cells are read."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from math import inf, nan
from typing import Any

from scalelab.core import metrics
from scalelab.core.errors import UserError
from scalelab.store.cells import (
    LENGTH,
    MINUS,
    DecimalMark,
    is_error,
    is_missing,
    is_not_finite,
    number,
    with_unit,
)

Parser = Callable[[str], Any]
"""The text of a cell -> its value. Raises UserError that says what the text is not."""

SLACK = Decimal("1e-7")
"""Sizes that were read off a figure, or computed as FLOPs / 6 N, are not quite whole. Rounding may
change them by this part of them; more is another unit.
"""

LARGEST = Decimal("1e300")
"""FLOPs are more than 64 bits count, and kept as a float."""

LENGTHS = ("steps", "tokens", "flops", "exposures", "seconds")
"""Columns beside spec paths, `params.*` and `metrics.*`."""

BUDGETS = ("budget.steps", "budget.tokens", "budget.flops")
"""Budgets are read as lengths are: a published one may be a fraction, or more than a
spec's may be.
"""

WHOLE = ("steps", "tokens", "flops", *BUDGETS)

BOOLEANS = {
    word: value
    for value, words in {
        "true": "wahr vrai verdadero vero verdadeiro waar",
        "false": "falsch faux falso onwaar",
    }.items()
    for word in words.split()
}
"""What spreadsheets write for TRUE and FALSE in other languages, in lower case."""

UNITS = {3: "thousands", 6: "millions", 9: "billions", 12: "trillions"}

STATES: dict[str, str] = {
    word: state
    for state, words in {
        "done": "done finished complete completed success succeeded ok",
        "stopped": "stopped early_stopped",
        "diverged": "diverged nan",
        "failed": "failed fail failure error crashed killed aborted canceled cancelled timeout",
        "running": "running scheduled waiting queued pending starting preempted preempting unknown",
        "pruned": "pruned",
    }.items()
    for word in words.split()
}
"""The words of MLflow, W&B, Optuna and schedulers for the state of a run, in lower case."""

OUTCOMES = ("done", "stopped", "diverged", "failed")
"""States that have an end; rows of the others are left out."""


@dataclass(frozen=True)
class Column:
    """One entry of a mapping: the spec path (or `params.*`, ...), the table's column and how its
    cells are read.
    """

    key: str
    name: str
    parse: Parser
    place: str
    """Where the mapping says so, `file:line`."""
    is_number: bool = False
    scale: Decimal | None = None
    """What every number is multiplied by."""
    round: bool = False
    """Whether fractions of a whole number are rounded, however large they are."""
    values: dict[str, Any] | None = None
    """The table's words -> their values."""

    @property
    def is_identity(self) -> bool:
        """Whether the value tells one trial from another; the rest is what came of it."""
        return not metrics.is_metric(self.key) and self.key not in ("seconds", "state")

    @property
    def is_whole(self) -> bool:
        """Whether the column counts something."""
        return self.key in WHOLE or self.key.startswith("params.")

    @property
    def header_power(self) -> int | None:
        """The power of ten that the name of the table's column ends with, as in `N (M)`."""
        words = r"(k|m|mn|mio|b|bn|t|thousands?|millions?|billions?|trillions?)"
        header = re.search(rf"[(\[ _]{words}[)\]]?$", self.name.lower())
        if header is None:
            return None
        is_trillions = header[1] == "t" or header[1].startswith("tr")
        return 12 if is_trillions else {"k": 3, "t": 3, "m": 6, "b": 9}[header[1][0]]

    def read(self, text: str, mark: DecimalMark) -> Any:
        """The value of a cell; None where it is missing, NaN or infinity where a metric is that.

        `mark` is the table's decimal mark. Raises UserError with what is wrong and the cure.
        """
        if self.values is not None and text in self.values:
            return self.values[text]
        if len(text) > LENGTH and not self.key.startswith("extra."):
            raise UserError(
                f"{text[:20] + '...'!r} is too long", cure=f"a cell has {LENGTH} characters"
            )
        if metrics.is_metric(self.key) and is_not_finite(text):
            return nan if "nan" in text.lower() else -inf if text[0] in ("-", MINUS) else inf
        if self.values is not None and self.key != "state" and not self._is_missing(text):
            known = ", ".join(map(repr, self.values))
            raise UserError(
                f"{text!r} is not among the mapping's values", cure=f"known are {known}"
            )
        if self.is_number and self._is_missing(text):
            return None
        found = number(text, mark) if self.is_number else None
        if found is None:
            value = self._parsed(text)
            if self.is_number and isinstance(value, int | float) and not isinstance(value, bool):
                self._check_duration(text, mark)
            return value
        value, unit = found
        if unit and self.scale is not None:
            raise UserError(
                f"{text!r} has a unit already", cure=f"leave out `scale`, or the `{unit}`"
            )
        if unit and unit != "%" and not self.is_whole and not metrics.is_metric(self.key):
            return self.parse(f"{value:f}{unit}")  # `15m` is a duration where one is asked for
        value = with_unit(value, unit) if self.scale is None else value * self.scale
        return self._whole(text, value) if self.is_whole else self._checked(text, value)

    def _is_missing(self, text: str) -> bool:
        return is_missing(text) or (self.is_number and is_error(text))

    def _parsed(self, text: str) -> Any:
        """What is no number: `none` may be a word of the spec, or stand for a missing value."""
        if not text:
            return None
        try:
            return self.parse(text)
        except UserError:
            if is_missing(text):
                return None
            word = BOOLEANS.get(text.lower())
            if word is None:
                raise
            with suppress(UserError):
                value = self.parse(word)
                if isinstance(value, bool):
                    return value
            raise

    def _check_duration(self, text: str, mark: DecimalMark) -> None:
        """Of the numbers that `number` does not read, only durations have a form of their own;
        others would escape the decimal mark, the scale and the range.
        """
        if self.key != "seconds" or not re.search(r"[dhms:]|\d-\d", text.lower()):
            name = "comma" if mark == "," else "point"
            raise UserError(
                f"{text!r} is not a number with a decimal {name}",
                cure=(
                    f"write all numbers with a decimal {name}, or say `decimal` at the top of the"
                    " mapping"
                ),
            )
        if self.scale is not None:
            raise UserError(f"{text!r} has a unit already", cure="leave out `scale`, or the unit")

    def _whole(self, text: str, value: Decimal) -> int:
        nearest_whole = value.to_integral_value()
        if abs(value - nearest_whole) > SLACK * abs(value) and not self.round:
            scaled = "" if self.scale is None else f", {value:f} after scaling"
            cure = f"{self.scale_cure()}, or add `round: true`"
            raise UserError(f"{text!r}{scaled} is not a whole number", cure=cure)
        # Digests of published tables rest on the float for what is not written in digits alone.
        exact = text.isdecimal() and not self.key.endswith("flops")
        whole = int(value) if exact or value >= LARGEST else round(float(value))
        if whole >= (LARGEST if self.key.endswith("flops") else 2**63):
            raise UserError(f"{text!r} is too large", cure="write it like 16, 10k or 1e6")
        least = 0 if self.key in LENGTHS else 1
        if whole < least:
            raise UserError(f"{text!r} is less than {least}", cure="write it like 16, 10k or 1e6")
        return whole

    def _checked(self, text: str, value: Decimal) -> Any:
        as_whole = value == value.to_integral_value()
        parsed = self.parse(str(int(value)) if as_whole else str(value))
        metric = metrics.metric_of(self.key)
        if metrics.is_metric(self.key) and not metrics.is_possible(metric, parsed):
            known = metrics.find(metric)
            assert known is not None
            raise UserError(
                f"{text!r} is no {metric}, which is {known.describe()}",
                cure=metrics.cure(metric, self.name),
            )
        return parsed

    def scale_cure(self) -> str:
        """What to write where the numbers are in the unit of the header, or else in millions."""
        power = self.header_power or 6
        name = self.name if re.fullmatch(r"\w+", self.name) else f'"{self.name}"'
        return (
            f"write `{self.key}: {{column: {name}, scale: 1e{power}}}` if it is in {UNITS[power]}"
        )
