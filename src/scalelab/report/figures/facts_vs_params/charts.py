"""The frontier chart: facts against the smallest passing model, log-log."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scalelab.report.charts.axes import log_y, thinned
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import (
    HEIGHT,
    WIDTH,
    Data,
    finished,
    layer,
    told,
)
from scalelab.report.recall import MEAN

LINES = (MEAN, "fit, 95 %", "published line")
_DASHES = ([1, 0], [7, 4], [2, 3])
_TOLD = {
    "series:N": "recall",
    "facts:Q": "facts",
    "size:N": "parameters",
    "spread:N": "spread",
    "replicates:N": "replicates",
    "trials:N": "trials",
}


def frontier_chart(data: Data, series: Palette) -> dict[str, Any]:
    """Means with their spread, every answer behind them, fitted laws with their bands, and the
    published line.

    Data sets: `means` (series, facts, params, low, high, open, line, and what the tooltip tells),
    `answers` (series, facts, params, area, and what the tooltip tells), `laws` (series, facts,
    params, low, high, line), `published` (facts, params, line).
    """
    known = (any(not row["open"] for row in data["means"]), data["laws"], data["published"])
    drawn = [name for name, rows in zip(LINES, known, strict=True) if rows]
    colour, shape, dash = _series(series, drawn)
    x, y = _facts_axis(sorted({row["facts"] for row in data["means"]})), _size_axis(data)
    tooltip = told(_TOLD, ",d")
    spread = (alt.Y("low:Q"), alt.Y2("high:Q"))

    def placed(name: str, keep: str | None = None) -> alt.Chart:
        return layer(name, x, y, keep=keep)

    answers, whole, censored = (
        placed("answers"),
        placed("means", "!datum.open"),
        placed("means", "datum.open"),
    )
    parts = [
        placed("laws").mark_area(opacity=0.14, clip=True).encode(*spread, colour),
        placed("published").mark_line(clip=True, style="reference", strokeWidth=1.8).encode(dash),
        placed("laws").mark_line(clip=True, strokeWidth=1.8).encode(colour, dash),
        placed("means", "datum.high > datum.low")
        .mark_rule(clip=True, strokeWidth=1.6)
        .encode(*spread, colour),
        whole.mark_line(strokeWidth=2.4).encode(colour, dash),
        answers.mark_point(filled=True, opacity=0.4, cursor="pointer").encode(
            colour, shape, alt.Size("area:Q", legend=None).scale(None), tooltip=tooltip
        ),
        whole.mark_point(filled=True, opacity=1, size=90, cursor="pointer").encode(
            colour, shape, tooltip=tooltip
        ),
        censored.mark_point(
            style="open", opacity=1, size=90, strokeWidth=2, cursor="pointer"
        ).encode(colour, shape, tooltip=tooltip),
        censored.mark_text(text="↑", dy=-15, fontSize=15, fontWeight="bold").encode(colour),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=HEIGHT), data)


def _series(series: Palette, drawn: Sequence[str]) -> tuple[alt.Color, alt.Shape, alt.StrokeDash]:
    named = series.legend(orient="top", offset=4, columnPadding=16, symbolOpacity=1)
    legend = alt.Legend(
        orient="top",
        offset=4,
        columnPadding=16,
        symbolType="stroke",
        symbolSize=500,
        symbolStrokeWidth=1.8,
        values=list(drawn),
    )
    return (
        series.colour("series:N", named),
        series.shape("series:N", named),
        alt.StrokeDash("line:N", title=None, legend=legend).scale(
            domain=list(LINES), range=list(_DASHES)
        ),
    )


def _facts_axis(facts: Sequence[float]) -> alt.X:
    scale = alt.Scale(type="log", base=2, domain=[facts[0] / 1.25, facts[-1] * 1.25], nice=False)
    axis = alt.Axis(
        values=thinned(facts), format=",d", grid=False, labelOverlap="greedy", labelSeparation=8
    )
    return alt.X("facts:Q", title="facts to recall, four for each person", scale=scale, axis=axis)


def _size_axis(data: Data) -> alt.Y:
    """From the smallest to the largest mark; of the bars, which on a log axis run far down, those
    not below a third of it.
    """
    marks = [row["params"] for name in ("means", "answers", "published") for row in data[name]]
    bars = [row["low"] for row in data["means"] if row["low"] > min(marks) / 3] + [
        row["high"] for row in data["means"]
    ]
    low, high = min(marks + bars) / 1.35, max(marks + bars) * 1.35
    return log_y("params:Q", "parameters of the smallest model that passes", (low, high))
