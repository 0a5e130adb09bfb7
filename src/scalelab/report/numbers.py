"""How numbers are said: grouped digits for people, six significant digits of what is fitted or drawn, ranges as `a to b`."""

import math
from typing import Any

from scalelab.core.units import format_count

DIGITS = 6
"""Significant digits of a fit: enough for any use, and the same on machines whose last bits differ."""

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def rounded(value: Any) -> Any:
    """Plain data with every float at six significant digits; what JSON has no number for becomes null."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value


def whole(value: float | None) -> str:
    """12345.6 -> `12,346`; nothing for None."""
    return "" if value is None else f"{value:,.0f}".replace("-", MINUS)


def span(interval: tuple[float, float] | None, form: str = ",.0f") -> str:
    """`7.6 to 8.7`; a dash where there is no interval."""
    return NONE if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}".replace("-", MINUS)


def short(value: float) -> str:
    """24321.0 -> `24.3K`, as on the axes."""
    return format_count(value).replace("k", "K")


def line(slope: float, intercept: float) -> str:
    """A line in words, such as `8.138 times facts + 5,171` with a multiplication sign."""
    return f"{slope:.4g} {TIMES} facts {MINUS if intercept < 0 else '+'} {abs(intercept):,.0f}"


def value(number: float) -> str:
    """A metric in four significant digits."""
    return f"{number:.4g}".replace("-", MINUS)
