"""The charts of fig. 5: loss against size at each budget, the best size and length of each budget,
and tokens per parameter.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    log_x,
    log_y,
)
from scalelab.report.charts.colours import Palette
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
_RUN = {
    "budget:N": "budget, FLOPs",
    "size:N": "parameters",
    "length:N": "tokens",
    "loss:Q": "loss",
    "trials:N": "trials",
}
_MINIMUM = {
    "budget:N": "budget, FLOPs",
    "best:N": "best",
    "about:N": "95 % interval",
    "runs:N": "runs",
    "trials:N": "trials",
}
_DASHES = ([1, 0], [6, 4])


def profiles_chart(
    data: Data, params: Span, losses: Span, budgets: Sequence[float]
) -> dict[str, Any]:
    """Loss against parameters at each budget: the runs, the parabola, its minimum with an interval;
    the fitted surface dotted.

    Data sets: `runs` (params, loss, budget, digests, and what the tooltip tells), `parabolas`
    (params, loss, budget), `slices` (params, loss, budget), `minima` (params, loss, low, high,
    budget, used, digests, and what the tooltip tells), `names` (params, loss, text).
    """
    x, y = log_x("params:Q", "parameters, N", params), log_y("loss:Q", "loss", losses, PLAIN_LABEL)
    colour = alt.Color("flops:Q", legend=None).scale(
        type="log",
        domain=[min(budgets), max(budgets)]
        if len(budgets) > 1
        else [budgets[0] / 2, budgets[0] * 2],
    )
    inside, edge = (
        layer("minima", x, y, colour, keep="datum.used"),
        layer("minima", x, y, colour, keep="!datum.used"),
    )
    parts = [
        layer("slices", x, y, colour)
        .mark_line(strokeWidth=1.1, strokeDash=[2, 3], clip=True)
        .encode(detail="flops:Q"),
        layer("parabolas", x, y, colour)
        .mark_line(strokeWidth=1.9, clip=True)
        .encode(detail="flops:Q"),
        layer("runs", x, y, colour)
        .mark_point(filled=True, size=42, opacity=0.75, cursor="pointer")
        .encode(tooltip=told(_RUN, ".4f")),
        layer("minima", y, keep="datum.high > datum.low")
        .mark_rule(style="ink", strokeWidth=1.8, clip=True)
        .encode(alt.X("low:Q"), alt.X2("high:Q")),
        inside.mark_point(
            shape="diamond", style="framed", size=150, filled=True, opacity=1, cursor="pointer"
        ).encode(tooltip=told(_MINIMUM)),
        edge.mark_point(
            shape="diamond", style="open", size=130, strokeWidth=2, opacity=1, cursor="pointer"
        ).encode(tooltip=told(_MINIMUM)),
        labelled("names", x, y, alt.Text("text:N")),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=HEIGHT), data)


def optimum_chart(
    data: Data, flops: Span, values: Span, title: str, label: str, approaches: Palette
) -> dict[str, Any]:
    """The best size, length or ratio against compute, by each approach: minima with intervals,
    lines with bands, dashed beyond the runs.

    Data sets: `lines` (flops, value, low, high, approach, part, piece), `minima` (flops, value,
    low, high, approach, used, digests, and what the tooltip tells), `traced` (flops, value,
    approach, digests, trials), `guides` (flops, value), `names` (flops, value, text).
    """
    x, y = (
        log_x("flops:Q", "compute, FLOPs", flops, POWER_LABEL),
        log_y("value:Q", title, values, label),
    )
    legend = approaches.legend(
        orient="top",
        title=None,
        symbolType="stroke",
        symbolSize=400,
        symbolStrokeWidth=2.4,
        symbolOpacity=1,
    )
    colour = approaches.colour("approach:N", legend)
    legend = alt.Legend(
        orient="top", title=None, symbolType="stroke", symbolSize=400, symbolStrokeWidth=2
    )
    dash = alt.StrokeDash("part:N", legend=legend).scale(
        domain=[WITHIN, BEYOND], range=list(_DASHES)
    )
    spread = (alt.Y("low:Q"), alt.Y2("high:Q"))
    inside, edge = (
        layer("minima", x, y, colour, keep="datum.used"),
        layer("minima", x, y, colour, keep="!datum.used"),
    )
    parts = [
        layer("guides", x, y).mark_line(
            style="reference", strokeDash=[2, 3], strokeWidth=1.4, clip=True
        ),
        layer("lines", x, y, colour)
        .mark_area(opacity=0.15, clip=True)
        .encode(*spread, detail="piece:N"),
        layer("lines", x, y, colour, dash)
        .mark_line(strokeWidth=2.2, clip=True)
        .encode(detail="piece:N"),
        layer("minima", x, colour, keep="datum.high > datum.low")
        .mark_rule(strokeWidth=1.4, clip=True)
        .encode(*spread),
        layer("traced", x, y, colour)
        .mark_point(filled=True, size=14, opacity=0.6, cursor="pointer")
        .encode(tooltip=told({"trials:N": "on the envelope"})),
        inside.mark_point(filled=True, size=70, opacity=1, cursor="pointer").encode(
            tooltip=told(_MINIMUM)
        ),
        edge.mark_point(style="open", size=70, strokeWidth=1.8, opacity=1, cursor="pointer").encode(
            tooltip=told(_MINIMUM)
        ),
        labelled("names", x, y, alt.Text("text:N")),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=380), data)
