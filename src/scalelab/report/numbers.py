"""How numbers are said: grouped digits for people, six significant digits of what is fitted or
drawn, ranges as `a to b`.
"""

import math
from typing import Any

from scalelab.core.jsonable import mapped
from scalelab.core.units import format_count
from scalelab.fit.estimate import Estimate

DIGITS = 6
"""Significant digits of a fit: enough for any use, and the same on machines whose last
bits differ.
"""

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
PLUS_MINUS = "\N{NO-BREAK SPACE}\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}"


def rounded(value: Any) -> Any:
    """Plain data with every float at six significant digits; what JSON has no number for becomes
    null.
    """
    return mapped(
        value, lambda number: float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None
    )


def whole(value: float | None) -> str:
    """12345.6 -> `12,346`; nothing for None."""
    return "" if value is None else f"{value:,.0f}".replace("-", MINUS)


def span(interval: tuple[float, float] | None, form: str = ",.0f") -> str:
    """`7.6 to 8.7`; a dash where there is no interval."""
    return (
        NONE
        if interval is None
        else f"{interval[0]:{form}} to {interval[1]:{form}}".replace("-", MINUS)
    )


def short(value: float) -> str:
    """24321.0 -> `24.3K`, as on the axes."""
    return format_count(value).replace("k", "K")


def line(slope: float, intercept: float) -> str:
    """A line in words, such as `8.138 times facts + 5,171` with a multiplication sign."""
    return f"{slope:.4g} {TIMES} facts {MINUS if intercept < 0 else '+'} {abs(intercept):,.0f}"


def value(number: float) -> str:
    """A metric in four significant digits."""
    return f"{number:.4g}".replace("-", MINUS)


def with_error(found: Estimate | None) -> str:
    """A mean and half its interval, as many decimals as the half has two digits: `1.4231 ± 0.0120`;
    a dash for None.
    """
    if found is None:
        return NONE
    if found.ci95 is None:
        return f"{found.value:,.0f}" if abs(found.value) >= 1000 else value(found.value)
    half = (found.ci95[1] - found.ci95[0]) / 2
    digits = _decimals(half)
    return f"{found.value:,.{digits}f}{PLUS_MINUS}{half:,.{digits}f}".replace("-", MINUS)


def about(found: Estimate, form: str = "") -> str:
    """A value with the ends of its interval: `1.42 (1.31 to 1.53)`; the value alone where it has
    none.
    """
    if found.ci95 is None:
        return value(found.value)
    form = form or f",.{_decimals((found.ci95[1] - found.ci95[0]) / 2)}f"
    return f"{found.value:{form}} ({span(found.ci95, form)})".replace("-", MINUS)


def _decimals(half: float) -> int:
    return max(0, min(8, 1 - math.floor(math.log10(half))))
