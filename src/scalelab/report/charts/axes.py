"""Log axes with ticks and labels that can be read."""

import math
from collections.abc import Iterable, Sequence

import altair as alt

SIZE_LABEL = "replace(replace(format(datum.value, '~s'), 'k', 'K'), 'G', 'B')"
"""Labels of an axis of sizes or tokens: 2K, 10M, 1B."""
POWER_LABEL = "replace(format(datum.value, '~e'), '+', '')"
"""Labels of an axis of FLOPs: 1e18, 2e18."""
PLAIN_LABEL = "format(datum.value, '~r')"
"""Labels of an axis of losses and ratios: 0.05, 2.5, 20."""

_FEW = 3
"""Ticks that an axis has at least, where it can."""


def log_x(
    field: str, title: str, domain: tuple[float, float], label: str = SIZE_LABEL, grid: bool = False
) -> alt.X:
    """A log axis over exactly this domain, with ticks that can be read."""
    return alt.X(field, title=title, scale=_log_scale(domain), axis=_log_axis(domain, label, grid))


def log_y(
    field: str, title: str, domain: tuple[float, float], label: str = SIZE_LABEL, grid: bool = True
) -> alt.Y:
    """A log axis over exactly this domain, with ticks that can be read."""
    return alt.Y(field, title=title, scale=_log_scale(domain), axis=_log_axis(domain, label, grid))


def _log_scale(domain: tuple[float, float]) -> alt.Scale:
    return alt.Scale(type="log", domain=list(domain), nice=False)


def _log_axis(domain: tuple[float, float], label: str, grid: bool) -> alt.Axis:
    return alt.Axis(
        values=log_ticks(*domain),
        labelExpr=label,
        grid=grid,
        labelOverlap="greedy",
        labelSeparation=6,
    )


def log_domain(values: Iterable[float], room: float = 0.06) -> tuple[float, float]:
    """From the least to the greatest positive value, with a share of their distance on a log axis
    as room at both ends.
    """
    logs = [math.log(value) for value in values if 0 < value < math.inf]
    assert logs, "a log axis needs a positive value"
    low, high = min(logs), max(logs)
    space = room * (high - low) if high > low else math.log(1.5)
    return math.exp(low - space), math.exp(high + space)


def log_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """1, 2, 5, 10, ... within [low, high]; where those are too many, every n-th ten; where too few,
    1, 2, 3, ... or even steps.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def within(steps: Iterable[int], every: int = 1) -> list[float]:
        ticks = [
            float(f"{step}e{decade}") for decade in decades if decade % every == 0 for step in steps
        ]
        return [tick for tick in ticks if low <= tick <= high]

    shown = within((1, 2, 5))
    if len(shown) > most:
        return within((1,), math.ceil(len(decades) / most))
    if len(shown) >= _FEW:
        return shown
    finer = within(range(1, 10))
    return finer if len(finer) >= _FEW else _even_ticks(low, high, min(most, 8))


def _even_ticks(low: float, high: float, about: int) -> list[float]:
    size = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(size * times for times in (1, 2, 5, 10) if (high - low) / (size * times) <= about)
    digits = max(0, -math.floor(math.log10(step)))
    return [
        round(index * step, digits)
        for index in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]


def thinned(values: Sequence[float], most: int = 9) -> list[float]:
    """Every k-th value, from the last one back, so that at most `most` are left."""
    step = math.ceil(len(values) / most)
    return sorted(sorted(values, reverse=True)[::step])
