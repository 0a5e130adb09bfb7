"""The charts of fig. 4: loss contours over parameters and tokens, and the loss that
compute buys.
"""

from typing import Any

import altair as alt

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    SIZE_LABEL,
    log_domain,
    log_ticks,
    log_x,
    log_y,
)
from scalelab.report.charts.marks import (
    HEIGHT,
    WIDTH,
    Data,
    finished,
    labelled,
    layer,
    told,
)

Span = tuple[float, float]

WITHIN, BEYOND = "within the runs", "extrapolated"
RUN = {
    "size:N": "parameters",
    "length:N": "tokens",
    "compute:N": "FLOPs",
    "loss:Q": "loss",
    "fitted:Q": "fitted",
    "trials:N": "trials",
}
"""What the tooltip of a run tells."""

_TALL = 580
_DASHES = ([1, 0], [6, 4])


def surface_chart(data: Data, params: Span, tokens: Span) -> dict[str, Any]:
    """The fitted surface as contour lines, the runs on it, lines of equal compute, and the
    compute-optimal frontier with its band.

    Data sets: `contours` (x, y, level, path, i, part), `labels` (x, y, text), `runs` (params,
    tokens, loss, digests, and what the tooltip tells), `isoflops` (params, tokens, flops),
    `budgets` (params, tokens, text), `frontier` (params, tokens, low, high, part). `params` and
    `tokens` are the drawn window.
    """
    x, y = (
        log_x("params:Q", "parameters, N", params),
        log_y("tokens:Q", "training tokens, D", tokens, grid=False),
    )
    shade = alt.Scale(
        type="log",
        domain=list(log_domain([row["loss"] for row in data["runs"]], room=0.0)),
        clamp=True,
        reverse=True,
    )
    level, loss = (
        alt.Color("level:Q", legend=None).scale(shade),
        alt.Color("loss:Q", legend=None).scale(shade),
    )

    def contours(part: str) -> alt.Chart:
        kept = layer("contours", alt.X("x:Q"), alt.Y("y:Q"), level, keep=f"datum.part == '{part}'")
        return kept.encode(detail="path:N", order="i:Q")

    runs = layer("runs", x, y, loss).encode(tooltip=told(RUN, ".4f"))
    parts = [
        layer("frontier", x, y)
        .mark_area(style="ink", stroke=None, opacity=0.13, clip=True)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        layer("isoflops", x, y)
        .mark_line(style="reference", strokeWidth=1, strokeDash=[2, 3], clip=True)
        .encode(detail="flops:Q"),
        contours(WITHIN).mark_line(strokeWidth=1.8, clip=True),
        contours(BEYOND).mark_line(strokeWidth=1, strokeDash=[6, 4], opacity=0.75, clip=True),
        _optimum("frontier", x, y),
        runs.mark_point(filled=True, size=46, opacity=1, cursor="pointer"),
        labelled("budgets", x, y, alt.Text("text:N")),
        labelled("labels", alt.X("x:Q"), alt.Y("y:Q"), alt.Text("text:N")),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=_TALL), data)


def compute_chart(data: Data, flops: Span, losses: Span, target: str) -> dict[str, Any]:
    """The loss that the best split of each compute reaches, with its band for the mean and for a
    run, and the runs.

    Data sets: `frontier` (flops, loss, low, high, run_low, run_high, part), `runs` (flops, loss,
    params, digests, and what the tooltip tells), `floor` (flops, loss, text): the irreducible loss.
    """
    x, y = (
        log_x("flops:Q", "compute, FLOPs", flops, POWER_LABEL),
        log_y("loss:Q", target, losses, PLAIN_LABEL),
    )
    sizes = [row["params"] for row in data["runs"]]
    legend = alt.Legend(
        title="parameters",
        orient="top",
        direction="horizontal",
        labelExpr=SIZE_LABEL,
        gradientLength=200,
        values=log_ticks(min(sizes), max(sizes), 4),
    )
    size = alt.Color("params:Q", legend=legend).scale(type="log", domain=[min(sizes), max(sizes)])
    parts = [
        layer("frontier", x, y)
        .mark_area(style="ink", stroke=None, opacity=0.07, clip=True)
        .encode(alt.Y("run_low:Q"), alt.Y2("run_high:Q")),
        layer("frontier", x, y)
        .mark_area(style="ink", stroke=None, opacity=0.15, clip=True)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        layer("runs", x, y, size)
        .mark_point(filled=True, size=46, opacity=0.9, cursor="pointer")
        .encode(tooltip=told(RUN, ".4f")),
        layer("floor", x, y).mark_line(style="reference", strokeDash=[2, 3], clip=True),
        _optimum("frontier", x, y, "the best split of each compute"),
        labelled("names", x, y, alt.Text("text:N")),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=HEIGHT), data)


def _optimum(
    name: str, x: alt.X, y: alt.Y, title: str = "best split of each compute, with its 95 % band"
) -> alt.Chart:
    legend = alt.Legend(
        orient="top",
        title=title,
        titleLimit=400,
        direction="horizontal",
        symbolType="stroke",
        symbolSize=500,
        symbolStrokeWidth=2.2,
    )
    dash = alt.StrokeDash("part:N", legend=legend).scale(
        domain=[WITHIN, BEYOND], range=list(_DASHES)
    )
    return (
        layer(name, x, y, dash)
        .mark_line(style="reference", strokeWidth=2.4, clip=True)
        .encode(detail="part:N", order="i:Q")
    )
