"""The charts of fig. 2: a quantity over facts and parameters with its contour lines, and sizes
against the dependence of the facts.
"""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any

import altair as alt
import numpy as np

from scalelab.fit.plane import Place, field, joined
from scalelab.report.charts.axes import (
    log_domain,
    log_y,
    thinned,
)
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.contours import contour_lines, label_places
from scalelab.report.charts.marks import (
    WIDTH,
    Data,
    behind,
    finished,
    labelled,
    layer,
    told,
)
from scalelab.report.numbers import rounded, whole

LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Contour lines."""

PARTS = ("contour", "at most here")
_DASHES = ([1, 0], [5, 3])
_HEIGHT, _LOW = 380, 250
_FEW = 40
"""Where no line is in the way, up to so many places have their value written over them."""
_BETWEEN = 8
"""Steps of a line from one column to the next."""
_LABELS_AT = {0.5: 0.2, 0.9: 0.4, 0.95: 0.6, 0.99: 0.8}
"""Labels of neighbouring lines stand apart: each at its own share of the line's length."""


def plane_data(found: Sequence[Place], said: str) -> dict[str, list[dict[str, Any]]]:
    """Data sets of a plane: every place that was tried, contour lines between them, and the lines'
    labels.
    """
    grid = field(found)
    lines = (
        _joined(found)
        if grid is None
        else contour_lines(grid.facts_X, grid.params_Y, grid.value_YX, LEVELS)
    )
    lowest_stop = min((value for place in found for value in place.stopped), default=math.inf)
    lines = [{**line, "part": PARTS[line["level"] > lowest_stop]} for line in lines]
    labels = [
        row
        for level, at in _LABELS_AT.items()
        for row in label_places([line for line in lines if line["level"] == level], at)
    ]
    marks = [_mark(place, said) for place in found]
    return rounded(
        {
            "places": marks,
            "contours": lines,
            "labels": [{**row, "text": f"{row['level']:g}"} for row in labels],
        }
    )


def _mark(place: Place, said: str) -> dict[str, Any]:
    values = ", ".join(f"{value:.3g}" for value in place.values)
    stopped = f", {len(place.stopped)} stopped early" if place.stopped else ""
    told_of = {
        "mean": f"{said} {place.mean:.3g}",
        "values": f"{values}{stopped}",
        "size": whole(place.params),
    }
    return {
        "facts": place.facts,
        "params": place.params,
        "value": place.mean,
        **told_of,
        **behind(place.digests),
    }


def _joined(found: Sequence[Place]) -> list[dict[str, Any]]:
    """Lines from column to column, in the rows of `contour_lines`; with places between the columns,
    where a label can stand.
    """
    rows: list[dict[str, Any]] = []
    lines = [(level, line) for level in LEVELS for line in joined(found, level)]
    for path, (level, line) in enumerate(lines):
        log_P2 = np.log(line)
        at = np.linspace(0, len(line) - 1, _BETWEEN * (len(line) - 1) + 1)
        x, y = (np.exp(np.interp(at, np.arange(len(line)), log_P)) for log_P in log_P2.T)
        rows += [
            {"x": float(x[i]), "y": float(y[i]), "level": level, "path": path, "i": i}
            for i in range(len(at))
        ]
    return rows


def plane_chart(
    data: Data, sizes: tuple[float, float], facts: Sequence[int], *, tall: bool
) -> dict[str, Any]:
    """Squares where something was run, contour lines between them.

    `sizes` and `facts` are those of all planes of the page.
    """
    height = _HEIGHT if tall else _LOW
    y = log_y("params:Q", "parameters", log_domain(sizes, 0.07))
    x = _facts_axis(facts)
    legend = alt.Legend(
        title="recall", gradientLength=180, format=".2~f", values=[0, 0.25, 0.5, 0.75, 1]
    )
    colour = alt.Color("value:Q", legend=legend).scale(
        type="linear", domain=[0, 1], clamp=True, range="heatmap"
    )
    tooltip = told(
        {
            "facts:Q": "facts",
            "size:N": "parameters",
            "mean:N": "mean",
            "values:N": "trials'",
            "trials:N": "trials",
        },
        ",d",
    )
    lines, side = (
        layer("contours", alt.X("x:Q"), alt.Y("y:Q")),
        _side(data["places"], sizes, height),
    )
    words = [layer("places", x, y, alt.Text("value:Q", format=".2f")).mark_text(dy=-side / 2 - 8)]
    parts = [
        layer("places", x, y)
        .mark_point(
            style="reference",
            shape="square",
            filled=True,
            opacity=1,
            size=side**2,
            strokeWidth=0.7,
            cursor="pointer",
        )
        .encode(colour, tooltip=tooltip),
        lines.mark_line(style="halo", fill=None, strokeWidth=4, opacity=0.55).encode(
            detail="path:N", order="i:Q"
        ),
        lines.mark_line(style="ink", fill=None, strokeWidth=1.8).encode(
            _part(data), detail="path:N", order="i:Q"
        ),
        *(words if len(data["places"]) <= _FEW and not data["contours"] else []),
        labelled("labels", alt.X("x:Q"), alt.Y("y:Q"), alt.Text("text:N")),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=height), data)


def _part(data: Data) -> alt.StrokeDash:
    drawn = [part for part in PARTS if any(row["part"] == part for row in data["contours"])]
    legend = alt.Legend(
        orient="top",
        offset=4,
        symbolType="stroke",
        symbolSize=500,
        symbolStrokeWidth=1.8,
        direction="horizontal",
    )
    dashes = [_DASHES[PARTS.index(part)] for part in drawn]
    return alt.StrokeDash("part:N", title=None, legend=legend if len(drawn) > 1 else None).scale(
        domain=drawn, range=dashes
    )


def _side(places: Sequence[Any], sizes: tuple[float, float], height: int) -> float:
    """The side of a square in points, so that most neighbours on a column don't touch."""
    gaps = [
        math.log(above["params"] / below["params"])
        for _, column in groupby(places, key=lambda row: row["facts"])
        for below, above in pairwise(column)
    ]
    whole_range = math.log(sizes[1] / sizes[0])
    return (
        min(14.0, max(6.0, 0.8 * height * median(gaps) / whole_range))
        if gaps and whole_range
        else 14.0
    )


def _facts_axis(facts: Sequence[int]) -> alt.X:
    scale = alt.Scale(type="log", base=2, domain=list(log_domain(facts, 0.05)), nice=False)
    axis = alt.Axis(
        values=thinned(facts), format=",d", grid=False, labelOverlap="greedy", labelSeparation=8
    )
    return alt.X("facts:Q", title="facts to recall, four for each person", scale=scale, axis=axis)


def dependence_chart(data: Data, mode: Palette, facts: Palette) -> dict[str, Any]:
    """The smallest passing size against the share of facts that follow from the family name: means,
    spreads, censored ones open; recall modes by colour, numbers of facts by shape.

    Data set `needed`: mode, number, series, dependence, params, low, high, open, size, spread,
    replicates, trials, digests.
    """
    rows = data["needed"]
    sizes = [row[name] for row in rows for name in ("params", "low", "high")]
    y = log_y("params:Q", "parameters of the smallest model that passes", log_domain(sizes, 0.1))
    shares = sorted({row["dependence"] for row in rows})
    x = alt.X(
        "dependence:Q",
        title="share of facts that follow from the family name",
        scale=alt.Scale(domain=[-0.03, 1.03], nice=False),
        axis=alt.Axis(values=shares, format=".2~f", grid=False),
    )
    options = {"orient": "top", "offset": 4, "columnPadding": 16, "symbolOpacity": 1}
    colour = mode.colour("mode:N", mode.legend(**options))
    legend = facts.legend(**options) if len(facts.shown) > 1 else None
    shape, detail = facts.shape("number:N", legend), alt.Detail("number:N")
    fields = {
        "series:N": "facts",
        "dependence:Q": "dependence",
        "size:N": "parameters",
        "spread:N": "spread",
        "replicates:N": "replicates",
    }
    tooltip = told({**fields, "trials:N": "trials"})
    whole_marks, censored = (
        layer("needed", x, y, keep="!datum.open"),
        layer("needed", x, y, keep="datum.open"),
    )
    parts = [
        layer("needed", x, y, keep="datum.high > datum.low")
        .mark_rule(strokeWidth=1.6)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        whole_marks.mark_line(strokeWidth=2.2).encode(colour, detail),
        whole_marks.mark_point(filled=True, opacity=1, size=90, cursor="pointer").encode(
            colour, shape, tooltip=tooltip
        ),
        censored.mark_point(
            style="open", opacity=1, size=90, strokeWidth=2, cursor="pointer"
        ).encode(colour, shape, tooltip=tooltip),
        censored.mark_text(text="↑", dy=-15, fontSize=15, fontWeight="bold").encode(colour),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=_HEIGHT), data)
