"""The cells of a table: numbers as people and programs write them in several countries, and the
words for a value that is missing.
"""

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

from scalelab.core.errors import UserError
from scalelab.core.units import parse_count

DecimalMark = Literal[".", ","]

_WORDS = "nan na n/a <na> nat none null nil - -- ? undefined missing"
_ERRORS = "#n/a #na #div/0! #value! #ref! #name? #num! #null!"
MISSING = frozenset({"", "\u2013", "\u2014", *_WORDS.split(), *_ERRORS.split()})
"""Words for a missing value, in lower case. Spreadsheets write their errors into a cell."""

MINUS = "\u2212"
_NOT_FINITE = frozenset({"nan", "inf", "infinity", "∞"})
_SPACES = " \u00a0\u2007\u2009\u202f'\u2019"
"""What may stand between groups of three digits, whatever the decimal mark is."""

LENGTH, EXPONENT = 200, 400
"""No number has more characters, nor a larger exponent."""

_NUMBER = re.compile(
    rf"([+-]?)([\d.,_{_SPACES}]*\d[.,]?)(?:e([+-]?\d+))?[\s{_SPACES}]*((?:[kmbgt%]|(?-i:[PE]))?)",
    re.IGNORECASE | re.ASCII,
)
_GROUPED = {
    mark: re.compile(
        rf"\d{{1,3}}(?:([{_SPACES}{'.' if mark == ',' else ','}])\d{{3}})(?:\1\d{{3}})*"
    )
    for mark in (".", ",")
}


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.lower() in MISSING


def is_error(text: str) -> bool:
    """Whether a cell is the error of a spreadsheet in any language: `#NV`, `#WERT!`, `#VALEUR!`."""
    return text.isupper() and re.fullmatch(r"#[\w/!?\u00a1\u00bf]+", text) is not None


def is_not_finite(text: str) -> bool:
    """Whether a cell is a number that is none: NaN or infinite."""
    return text.lower().lstrip(f"+-{MINUS}") in _NOT_FINITE


def mark_of(text: str) -> tuple[DecimalMark | None, bool]:
    """The decimal mark that a cell shows, and whether it could be the other one.

    `6,4324` and `1.234,5` show a comma, `10,000,000` and `0.5` a point; `1,234` and `1.234` show
    one or the other, and `7` none. Nobody groups the digits before an exponent: `1.234e+18` shows
    a point.
    """
    match = _NUMBER.fullmatch(text.replace(MINUS, "-")) if len(text) <= LENGTH else None
    digits = match[2] if match is not None else ""
    marks = [char for char in digits if char in ".,"]
    if not marks:
        return None, False
    last: DecimalMark = "." if marks[-1] == "." else ","
    other: DecimalMark = "," if last == "." else "."
    shown = other if len(marks) > 1 and len(set(marks)) == 1 else last
    has_exponent = match is not None and match[3] is not None
    if _plain(digits, shown, can_group=not has_exponent) is None:
        return None, False
    could_group = re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", digits) is not None
    return shown, could_group and not has_exponent


def decimal_mark(cells: Iterable[tuple[str, str]], delimiter: str) -> DecimalMark:
    """The decimal mark of all numbers of a table, from its cells as (place, text).

    Raises UserError where cells contradict each other, or leave it open.
    """
    sure: dict[DecimalMark, str] = {}
    open_: dict[DecimalMark, str] = {}
    for place, text in cells:
        mark, could_group = mark_of(text)
        if mark is not None:
            (open_ if could_group else sure).setdefault(mark, f"{text!r} ({place})")
    if len(sure) == 2:
        raise UserError(
            f"{sure['.']} is written with a decimal point and {sure[',']} with a decimal comma",
            cure="write all numbers in one way",
        )
    if sure:
        return next(iter(sure))
    # Between commas a point is the decimal mark; elsewhere it may separate thousands.
    if not open_ or (delimiter == "," and "," not in open_):
        return "."
    shown = next(iter(open_.values()))
    raise UserError(
        f"{shown} may be thousands or a fraction",
        cure=(
            'say which mark is the decimal one at the top of the mapping: `decimal: "."` or'
            ' `decimal: ","`'
        ),
    )


def grouped_elsewhere(cells: Iterable[str], mark: DecimalMark) -> str | None:
    """A cell of a column, such as `3.214`, that is in thousands only because another column has
    this decimal mark; None where the column itself shows the mark.
    """
    first: str | None = None
    for text in cells:
        shown, could_group = mark_of(text)
        if shown is not None and not could_group:
            return None
        if first is None and shown not in (None, mark):
            first = text
    return first


def number(text: str, mark: DecimalMark) -> tuple[Decimal, str] | None:
    """The number that a cell holds, exactly, and the unit behind it (`M`, `%`, ...), which
    `with_unit` applies; None where the cell is no number.

    Raises UserError for a number that is absurdly large or small.
    """
    match = _NUMBER.fullmatch(text.replace(MINUS, "-")) if len(text) <= LENGTH else None
    if match is None:
        return None
    sign, digits, exponent, unit = match.groups(default="")
    plain = _plain(digits, mark, can_group=not exponent)
    if plain is None:
        return None
    if len(exponent.lstrip("+-0")) > 4 or abs(int(exponent or "0")) > EXPONENT:
        raise UserError(f"{text!r} is out of range", cure="write a number such as 1e18")
    value = Decimal(f"{sign}{plain}e{exponent or 0}")
    if value and not float(value):
        raise UserError(f"{text!r} is out of range", cure="write 0, or a number such as 1e-18")
    return value, unit


def with_unit(value: Decimal, unit: str) -> Decimal:
    """The number that `13.7` and `M`, or `95` and `%`, are together."""
    if unit == "%":
        return value.scaleb(-2)
    return value * parse_count(f"1{unit}") if unit else value


def _plain(digits: str, mark: DecimalMark, *, can_group: bool) -> str | None:
    """The digits without what groups them and with a decimal point; None where that is no
    number.
    """
    whole, _, fraction = digits.partition(mark)
    if can_group and _GROUPED[mark].fullmatch(whole):
        whole = re.sub(r"\D", "", whole)
    whole, fraction = whole.replace("_", ""), fraction.replace("_", "")
    is_number = re.fullmatch(r"\d+", whole + fraction, re.ASCII) is not None
    return f"{whole or '0'}.{fraction or '0'}" if is_number else None


def typed(cells: Sequence[str], mark: DecimalMark) -> list[int | float | str | None]:
    """Numbers where the whole column is numbers, else text; missing is null."""
    for kind in (int, float):
        try:
            return [_as(kind, cell, mark) for cell in cells]
        except (ValueError, OverflowError):
            continue
    return [cell or None for cell in cells]


def _as(kind: type[int] | type[float], text: str, mark: DecimalMark) -> int | float | None:
    """A cell as this kind of number, None where it is missing. Raises ValueError."""
    if is_missing(text):
        return None
    found = number(text, mark) if mark == "," or "," in text else None
    if found is not None and not found[1]:
        text = str(int(found[0])) if found[0] == found[0].to_integral_value() else str(found[0])
    value = kind(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value
