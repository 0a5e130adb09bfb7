"""Quantities as people write them: `10M`, `1e6`, `2h`, `1:30:00`. What is printed here is also read
here.
"""

import math
import re
from decimal import Context, Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from scalelab.core.errors import UserError

_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_CAPITAL = {"P": 10**15, "E": 10**18}
"""Suffixes that must be capitals: `1e` is an exponent that was not finished."""
_UNSIGNED = r"(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_QUANTITY = re.compile(rf"([+-]?{_UNSIGNED})\s*([a-z]*)", re.IGNORECASE | re.ASCII)

_UNITS = ("d", "h", "m(?:in)?", "s")
_SECONDS = (86400, 3600, 60, 1)
_IN_UNITS = re.compile(
    r"\s*".join(rf"(?:({_UNSIGNED})\s*{unit})?" for unit in _UNITS), re.IGNORECASE | re.ASCII
)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+)", re.ASCII)
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?", re.ASCII)

_LONGEST = 1_000
"""Characters of a quantity."""
_DECIMAL = Context(prec=_LONGEST + 18, traps=[])
"""Exact, and without exceptions: what is beyond every exponent becomes infinite, or no number."""

_NUMBER = "write it like 0.01, 1e-3 or 10M"
_WHOLE = "write it like 16, 10k or 1e6"
_DURATION = "write it like 90s, 15m, 2h30m or 1:30:00"
"""Cures."""


def parse_number(value: Any) -> float:
    """`1e-3`, `0.5`, `10M` -> a finite float. Raises UserError."""
    number = float(_exact(value, _NUMBER))
    if not math.isfinite(number):
        raise UserError(f"{value!r} is not a finite number", cure=_NUMBER)
    return number


def parse_count(value: Any) -> int:
    """`10M`, `1e6`, `1_000` -> a whole number of at least 1. Raises UserError."""
    return _whole(value, 1)


def parse_whole(value: Any) -> int:
    """A whole number of at least 0. Raises UserError."""
    return _whole(value, 0)


def _whole(value: Any, least: int) -> int:
    number = _exact(value, _WHOLE)
    if not number.is_finite() or number != number.to_integral_value():
        raise UserError(f"{value!r} is not a whole number", cure=_WHOLE)
    if not least <= number < 2**63:
        raise UserError(
            f"{value!r} is {f'less than {least}' if number < least else 'too large'}",
            cure=_WHOLE,
        )
    return int(number)


def _exact(value: Any, cure: str) -> Decimal:
    """The number as written, without rounding."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(value)
    match = _QUANTITY.fullmatch(_short(value)) if isinstance(value, str) else None
    factor = match and _CAPITAL.get(match[2], _SUFFIX.get(match[2].lower()))
    if match is None or factor is None:
        raise UserError(f"{value!r} is not a number", cure=cure)
    return _DECIMAL.multiply(_DECIMAL.create_decimal(match[1].replace("_", "")), Decimal(factor))


def _short(text: str) -> str:
    """The text without the blanks around it; empty where it is too long for a quantity."""
    return text.strip() if len(text) <= _LONGEST else ""


def parse_seconds(value: Any) -> float:
    """A duration in seconds: `90`, `90s`, `15m`, `1.5h`, `2h30m`, `1d 2h`, or in Slurm's forms
    MM:SS (`1:30`), HH:MM:SS (`1:30:00`), D-HH, D-HH:MM and D-HH:MM:SS. A bare number is in seconds.

    Raises UserError.
    """
    text = "" if isinstance(value, bool) else _short(str(value))
    amounts = _amounts(text)
    if amounts is None:
        raise UserError(f"{value!r} is not a duration", cure=_DURATION)
    seconds = sum(amount * unit for amount, unit in zip(amounts, _SECONDS, strict=True))
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"{value!r} is not a positive duration", cure=_DURATION)
    return seconds


def _amounts(text: str) -> list[float] | None:
    """Days, hours, minutes and seconds of a duration; None where it is none."""
    if match := re.fullmatch(_UNSIGNED, text, re.IGNORECASE | re.ASCII):
        return [0, 0, 0, float(text.replace("_", ""))]
    if text and (match := _IN_UNITS.fullmatch(text)):
        return [float(amount.replace("_", "")) for amount in match.groups("0")]
    if match := _DAYS.fullmatch(text):
        amounts = [float(amount) for amount in match.groups("0")]
    elif match := _CLOCK.fullmatch(text):
        amounts = [0, *(float(amount) for amount in match.groups("0"))]
    else:
        return None
    # The largest part may be any number: `90:00` is an hour and a half.
    first = next((index for index, amount in enumerate(amounts) if amount), 3)
    below = zip(amounts[first + 1 :], (math.inf, 24, 60, 60)[first + 1 :], strict=True)
    return amounts if all(amount < limit for amount, limit in below) else None


def format_count(value: float) -> str:
    """1_234_567 -> `1.23M`: three significant digits and a suffix."""
    for size, suffix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def format_seconds(seconds: float) -> str:
    """7_321 -> `2h 2m`: the two largest units; two digits below a tenth of a second."""
    if seconds < 0.1:
        return f"{seconds:.2g}s"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    whole = round(seconds)
    parts = [
        (whole // 86400, "d"),
        (whole // 3600 % 24, "h"),
        (whole // 60 % 60, "m"),
        (whole % 60, "s"),
    ]
    first = next(index for index, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount}{unit}" for amount, unit in parts[first : first + 2] if amount)


def brief(value: Any) -> str:
    """A value of a spec in few letters: `0.0108` for a long fraction, `text, context 256` for a
    part with its kind.
    """
    if isinstance(value, dict):
        rest = [f"{key} {brief(part)}" for key, part in value.items() if key != "kind"]
        return ", ".join([*([str(value["kind"])] if "kind" in value else []), *rest])
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(brief, value))}]"
    if isinstance(value, float):
        return format_count(value) if value == int(value) and abs(value) >= 1e6 else f"{value:.4g}"
    return str(value)


Count = Annotated[int, BeforeValidator(parse_count)]
"""A whole number of at least 1, written `16`, `10k`, `1e6`."""

Whole = Annotated[int, Field(ge=0), BeforeValidator(parse_whole)]
"""A whole number of at least 0, written `0`, `10k`, `1e6`."""

Number = Annotated[float, BeforeValidator(parse_number)]
"""A finite number, written `0.01`, `1e-3`, `10M`."""

Seconds = Annotated[float, BeforeValidator(parse_seconds)]
"""A positive duration, written `90s`, `15m`, `2h30m`, `1:30:00`."""
