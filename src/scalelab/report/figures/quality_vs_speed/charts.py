"""The charts of fig. 9: quality against what it costs, an arm a mark; and how far each arm is from
the first.
"""

from typing import Any

import altair as alt

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    SIZE_LABEL,
    log_domain,
    log_x,
    log_y,
)
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import (
    HALF,
    HEIGHT,
    WIDTH,
    Data,
    finished,
    layer,
    told,
)

MOST = 12
"""Arms that are told apart by colour and shape."""

_LEGEND = 52
"""Characters of a legend in one row, with the space between its columns."""
_WIDE = 4.0
"""An axis is logarithmic where its values spread over more than this factor."""
_TOLD = {
    "series:N": "arm",
    "setting:N": "at",
    "quality:N": "quality",
    "cost:N": "",
    "replicates:N": "replicates",
    "trials:N": "trials",
}


def cost_chart(
    data: Data, titles: tuple[str, str], metric: str, arms: Palette, *, small: bool
) -> dict[str, Any]:
    """Means with their intervals both ways, the replicates behind them; arms of one name in several
    settings are joined.

    Data sets: `arms` (series, setting, x, low, high, y, bottom, top, and what the tooltip tells),
    `values` (series, x, y, told). `titles` are those of the x axis and of its value in a tooltip.
    """
    x, y = (
        _axis(alt.X, data, "x", ("low", "high"), titles[0]),
        _axis(alt.Y, data, "y", ("bottom", "top"), metric),
    )
    channels = _apart(arms, small) if len(arms.shown) <= MOST else []
    fields = {field: title or titles[1] for field, title in _TOLD.items()}
    means, values = layer("arms", x, y), layer("values", x, y)
    joined = len({row["setting"] for row in data["arms"]}) > 1
    line = means.encode(*channels[:1], detail="series:N").mark_line(strokeWidth=1.2, opacity=0.5)
    parts = [
        *([line] if joined else []),
        values.encode(*channels, tooltip=told(fields)).mark_point(
            filled=True, opacity=0.35, size=26, cursor="pointer"
        ),
        means.encode(*channels[:1], alt.X2("high:Q"), x=alt.X("low:Q")).mark_rule(strokeWidth=1.6),
        means.encode(*channels[:1], alt.Y2("top:Q"), y=alt.Y("bottom:Q")).mark_rule(
            strokeWidth=1.6
        ),
        means.encode(*channels, tooltip=told(fields)).mark_point(
            filled=True, opacity=1, size=120, cursor="pointer"
        ),
    ]
    size = {"width": HALF, "height": 300} if small else {"width": WIDTH, "height": HEIGHT}
    return finished(alt.layer(*parts).properties(**size), data)


def _axis(kind: Any, data: Data, field: str, ends: tuple[str, str], title: str) -> Any:
    """Over all marks and intervals: from an even axis to a logarithmic one where they
    spread far.
    """
    found = [row[name] for row in data["arms"] for name in (field, *ends)] + [
        row[field] for row in data["values"]
    ]
    low, high = min(found), max(found)
    if low > 0 and high > _WIDE * low:
        label = SIZE_LABEL if high >= 1000 else PLAIN_LABEL
        axis = (log_x if kind is alt.X else log_y)(
            f"{field}:Q", title, log_domain(found, 0.08), label
        )
        return axis
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    # An interval may reach below zero where a value can't.
    start = max(low - room, 0.0) if low >= 0 else low - room
    shown = alt.Axis(tickCount=6, grid=kind is alt.Y, format=",~r" if high >= 1000 else "~r")
    return kind(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(domain=[start, high + room], nice=False, zero=False),
        axis=shown,
    )


def _apart(arms: Palette, small: bool) -> list[Any]:
    """Channels of arms: a colour and a shape for each."""
    longest = max(map(len, arms.shown)) + 6
    columns = max(1, min(4, _LEGEND // longest))
    legend = arms.legend(
        orient="top",
        offset=6,
        columns=columns,
        columnPadding=16,
        symbolOpacity=1,
        labelLimit=WIDTH // (2 if small else 1),
    )
    legend = legend if len(arms.shown) > 1 else None
    return [arms.colour("series:N", legend), arms.shape("series:N", legend)]
