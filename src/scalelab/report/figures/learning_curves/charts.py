"""The chart of learning curves: lines with bands, and a mark where each trial's curve ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from scalelab.core.metrics import is_lower_better
from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    SIZE_LABEL,
    log_domain,
    log_ticks,
    log_x,
    log_y,
)
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import (
    HEIGHT,
    WIDTH,
    Data,
    finished,
    layer,
    told,
)
from scalelab.report.figures.learning_curves.data import X_AXES

_STATES = {
    "done": "circle",
    "stopped": "square",
    "diverged": "cross",
    "failed": "cross",
    "running": "triangle-up",
}
_TOLD = {"series:N": "series", "x:Q": "at", "value:Q": "value"}
_TRIAL = {"state:N": "state", "seed:N": "seed", "trials:N": "trial"}
_FILLED: dict[str, Any] = {"filled": True, "size": 55}
_RING: dict[str, Any] = {"filled": False, "size": 14, "strokeWidth": 2.5}
"""Small rings look like dots; where lines and filled marks share their colours, the legend of a
ramp would be of symbols.
"""
_WIDE = 88
"""Characters of a legend in one row, with the space between its columns."""


@dataclass(frozen=True)
class Colouring:
    """Colours of series; or where `axis` is one, of the axis by its words, or by numbers between
    the ends of `span`.
    """

    palette: Palette
    axis: str = ""
    span: tuple[float, float] | None = None


def curve_chart(data: Data, metric: str, x: str, log: bool, colouring: Colouring) -> dict[str, Any]:
    """Data sets: `curves` (series, x, value; low, high where series are told apart; else colour),
    `alone`, those of them that are a single place and have no end to mark it, and `ends` (series,
    x, value, state, seed, trials, digests; colour).
    """
    places, values = _x(data, x, log), _y(data, metric)
    colour, *dash = _apart(colouring.palette) if not colouring.axis else _along(colouring)
    told_apart = not colouring.axis
    curves = layer("curves", places, values, colour, *dash, detail="series:N")
    ends = layer(
        "ends", places, values, colour, _shape(data), tooltip=told({**_TOLD, **_TRIAL}, ".4g")
    )
    # Marks that nobody sees, for the values at each place: a line tells only one.
    tooltip = told({**_TOLD, "low:Q": "from", "high:Q": "to"}, ".4g")
    hover = layer("curves", places, values, tooltip=tooltip).mark_point(opacity=0, size=90)
    parts = [
        *([_band(places, colour)] if told_apart else []),
        curves.mark_line(
            strokeWidth=2.2 if told_apart else 1.2, opacity=1 if told_apart else 0.75, clip=True
        ),
        *([hover] if told_apart else []),
        layer("alone", places, values, colour).mark_point(opacity=1, **_FILLED),
        ends.mark_point(opacity=1, cursor="pointer", **(_FILLED if told_apart else _RING)),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=HEIGHT), data)


def _band(x: alt.X, colour: alt.Color) -> alt.Chart:
    return layer(
        "curves", x, alt.Y("low:Q"), alt.Y2("high:Q"), colour, detail="series:N"
    ).mark_area(opacity=0.15, clip=True)


def _x(data: Data, x: str, log: bool) -> alt.X:
    label = POWER_LABEL if x == "flops" else SIZE_LABEL
    if log:
        return log_x(
            "x:Q", X_AXES[x], log_domain((row["x"] for row in data["curves"]), 0.02), label
        )
    return alt.X(
        "x:Q",
        title=X_AXES[x],
        axis=alt.Axis(labelExpr=label, grid=False, tickCount=8, labelOverlap="greedy"),
        scale=alt.Scale(nice=False, zero=True),
    )


def _y(data: Data, metric: str) -> alt.Y:
    """From 0 to 1 for shares, on a log axis where the values spread over more than a decade, else
    what the values need.
    """
    values = [
        row[key]
        for name in ("curves", "ends")
        for row in data[name]
        for key in ("value", "low", "high")
        if key in row
    ]
    low, high = min(values), max(values)
    if low > 0 and high > 12 * low and high > 1.5:
        return log_y("value:Q", metric, log_domain(values), PLAIN_LABEL)
    is_share = low >= 0 and high <= 1 and not is_lower_better(metric)
    scale = alt.Scale(domain=[0, 1], nice=False) if is_share else alt.Scale(zero=False)
    return alt.Y("value:Q", title=metric, scale=scale, axis=alt.Axis(format="~r", tickCount=6))


def _apart(palette: Palette) -> list[Any]:
    """Channels of lines: a colour and a dash for each series."""
    line = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 2, "symbolOpacity": 1}
    legend = (
        palette.legend(orient="top", offset=4, columnPadding=16, **_columns(palette.shown), **line)
        if len(palette.shown) > 1
        else None
    )
    return [palette.colour("series:N", legend), palette.dash("series:N", legend)]


def _along(colouring: Colouring) -> list[Any]:
    """Channels of lines: a colour for each value of the axis."""
    if colouring.span is None:
        palette = colouring.palette
        legend = palette.legend(
            orient="top",
            offset=4,
            symbolType="stroke",
            symbolOpacity=1,
            **_columns(palette.shown),
        )
        return [palette.colour("colour:N", legend, colouring.axis)]
    low, high = colouring.span
    is_log = low > 0 and high > 8 * low
    scale = alt.Scale(type="log" if is_log else "linear", domain=[low, high], nice=False)
    ticks = {"values": log_ticks(low, high, 6)} if is_log else {"tickCount": 5}
    shown = {"gradientLength": 240, "labelExpr": SIZE_LABEL, **ticks}
    legend = alt.Legend(orient="top", offset=4, **shown)
    return [alt.Color("colour:Q", title=colouring.axis, scale=scale, legend=legend)]


def _columns(labels: Sequence[str]) -> dict[str, int]:
    """Columns of a legend, each as wide as the chart has room for."""
    columns = max(1, min(4, _WIDE // (max(map(len, labels), default=1) + 6)))
    return {"columns": columns, "labelLimit": WIDTH // columns - 60}


def _shape(data: Data) -> alt.Shape:
    states = [state for state in _STATES if any(row["state"] == state for row in data["ends"])]
    legend = alt.Legend(orient="top", offset=8, symbolOpacity=1) if len(states) > 1 else None
    return alt.Shape("state:N", title=None, legend=legend).scale(
        domain=states, range=[_STATES[state] for state in states]
    )
