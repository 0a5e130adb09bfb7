"""Quantities as people write them: `10M`, `1e6`, `2h`. PyYAML reads `1e-3` as a string, so numbers
parse here too.
"""

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_number(value: Any) -> float:
    """`1e-3`, `0.5`, `10M` -> a finite float. Raises ValueError with a cure."""
    number = float(_exact(value, "a number; write it like 0.01, 1e-3 or 10M"))
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number; write it like 0.01, 1e-3 or 10M")
    return number


def parse_count(value: Any) -> int:
    """`10M`, `1e6`, `1_000` -> a whole number of at least 1. Raises ValueError with a cure."""
    number = _exact(value, "a number; write it like 16, 10k or 1e6")
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{value!r} is not a whole number; write it like 16, 10k or 1e6")
    if not 1 <= number < 2**63:
        raise ValueError(
            f"{value!r} is {'less than 1' if number < 1 else 'too large'}; write it like 16, 10k"
            " or 1e6"
        )
    return int(number)


def _exact(value: Any, wanted: str) -> Decimal:
    """The number as written, without rounding."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(value)
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _SUFFIX:
        raise ValueError(f"{value!r} is not {wanted}")
    return Decimal(match[1].replace("_", "")) * _SUFFIX[match[2].lower()]


def parse_seconds(value: Any) -> float:
    """`90`, `90s`, `15m`, `2h`, `1d` -> seconds. Raises ValueError with a cure."""
    text = str(value).strip()
    match = _QUANTITY.fullmatch(text)
    if match is None or (match[2] or "s").lower() not in _SECONDS or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a duration; write it like 90s, 15m or 2h")
    seconds = float(match[1].replace("_", "")) * _SECONDS[(match[2] or "s").lower()]
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{value!r} is not a positive duration; write it like 90s, 15m or 2h")
    return seconds


def format_count(value: float) -> str:
    """1_234_567 -> `1.23M`: three significant digits and a suffix."""
    for size, suffix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def format_seconds(seconds: float) -> str:
    """7_321 -> `2h 2m`: the two largest units."""
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

Number = Annotated[float, BeforeValidator(parse_number)]
"""A finite number, written `0.01`, `1e-3`, `10M`."""

Seconds = Annotated[float, BeforeValidator(parse_seconds)]
"""A positive duration, written `90s`, `15m`, `2h`."""
