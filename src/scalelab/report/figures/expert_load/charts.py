"""The charts of fig. 10: the load of every expert, layer by layer, and the router's curves."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    log_domain,
    log_x,
    log_y,
)
from scalelab.report.charts.colours import COLOURS, Palette
from scalelab.report.charts.marks import (
    HALF,
    THIRD,
    WIDTH,
    Data,
    behind,
    finished,
    layer,
    told,
)
from scalelab.report.figures.expert_load.data import Experts, Load
from scalelab.report.numbers import rounded

CELLS = 9000
"""Most cells of a chart: beyond that evaluations, then layers, are left out of the picture."""

_MOST = 2.0
"""Loads from here on have the deepest colour."""
_EVALUATIONS = 16
"""Evaluations of a picture at least, before layers are left out."""
_COLUMNS, _TALL = 3, (130, 260)
_STEP = "replace(format(datum.value, '.2~s'), 'k', 'K')"
"""Labels of the evaluations: 50, 1.9K."""


def load_chart(found: Experts, cells: int = CELLS) -> tuple[dict[str, Any], bool]:
    """A small heat map of experts over evaluations for each layer, and whether some were left out
    to have no more than `cells`.
    """
    load = found.shown
    layers, steps = _thinned(load, cells)
    rows = [
        {
            "layer": load.layers[at],
            "expert": expert,
            "step": load.steps_S[step],
            "load": float(value),
        }
        for at in layers
        for step in steps
        for expert, value in enumerate(load.load_LSX[at, step])
        if np.isfinite(value)
    ]
    columns = min(_COLUMNS, len(layers)) if len(layers) != 4 else 2
    width = {1: WIDTH, 2: 390}.get(columns, THIRD)
    height = min(_TALL[1], max(_TALL[0], 9 * load.experts))
    parts = [
        _heat(load, load.layers[at], width, height, [load.steps_S[step] for step in steps])
        for at in layers
    ]
    chart = alt.concat(*parts, columns=columns, spacing={"row": 20, "column": 18}).resolve_scale(
        color="shared"
    )
    return finished(chart, {"loads": rounded(rows)}), len(layers) < len(load.layers) or len(
        steps
    ) < len(load.steps_S)


def _thinned(load: Load, cells: int) -> tuple[list[int], list[int]]:
    """Which layers and evaluations are drawn: the first, the last, and others evenly between."""
    layers, steps, experts = load.load_LSX.shape[0], load.load_LSX.shape[1], load.experts
    steps = min(steps, max(_EVALUATIONS, cells // (experts * layers)))
    layers = min(layers, max(1, cells // (experts * steps)))
    return _even(load.load_LSX.shape[0], layers), _even(load.load_LSX.shape[1], steps)


def _even(count: int, most: int) -> list[int]:
    return sorted({round(at) for at in np.linspace(0, count - 1, most).tolist()})


def _heat(load: Load, at: int, width: int, height: int, steps: Sequence[int]) -> alt.Chart:
    x = alt.X(
        "step:O",
        title="step",
        axis=alt.Axis(
            labelAngle=0,
            labelOverlap="greedy",
            labelSeparation=8,
            domain=False,
            ticks=False,
            labelExpr=_STEP,
        ),
    )
    every = max(1, round(load.experts / 8))
    y = alt.Y(
        "expert:O",
        title="expert",
        sort="ascending",
        axis=alt.Axis(domain=False, ticks=False, values=list(range(0, load.experts, every))),
    )
    said = (
        "datum.value >= 2 ? '2 or more' : datum.value == 1 ? '1, even' : format(datum.value, '.1f')"
    )
    legend = alt.Legend(
        title="load",
        orient="top",
        direction="horizontal",
        gradientLength=260,
        values=[0, 0.5, 1, 1.5, 2],
        labelExpr=said,
    )
    colour = alt.Color("load:Q", legend=legend).scale(
        type="linear", domain=[0, 1, _MOST], clamp=True, range="diverging", interpolate="rgb"
    )
    tooltip = told(
        {"layer:N": "layer", "expert:N": "expert", "step:N": "step", "load:Q": "load"}, ".3f"
    )
    chart = layer("loads", x, y, colour, keep=f"datum.layer == {at}", tooltip=tooltip)
    # Written once here, and not in every cell: a digest is longer than all else of one.
    whose = chart.transform_calculate(digests=f"['{load.digest}']")
    return whose.mark_rect(cursor="pointer").properties(
        width=width, height=height, title=f"layer {at}"
    )


def curve_rows(found: Experts, kind: str) -> list[dict[str, Any]]:
    """The places of a quantity's curves: layer, step, value, range."""
    digests = [load.digest for load in found.loads]
    return [
        {
            "layer": curve.layer,
            "step": step,
            "value": mean,
            "range": f"{low:.3g} to {high:.3g}",
            **behind(digests if step == curve.steps_S[-1] else []),
        }
        for curve in found.curves[kind]
        for step, mean, low, high in zip(
            curve.steps_S, curve.mean_S, curve.low_S, curve.high_S, strict=True
        )
    ]


def curve_chart(data: Data, title: str, even: tuple[float, str] | None) -> dict[str, Any]:
    """A quantity of every layer over the steps, layers by colour; a dashed line where the router
    would be even.

    Data set `curves`: layer, step, value, range, trials, digests.
    """
    rows = data["curves"]
    layers = sorted({row["layer"] for row in rows})
    ends = [row["value"] for row in rows] + ([even[0]] if even else [])
    x = log_x(
        "step:Q",
        "step",
        log_domain((row["step"] for row in rows), 0.02),
        "format(datum.value, '~s')",
    )
    y = _y(ends, title)
    colour = _layers(layers)
    tooltip = told(
        {
            "layer:N": "layer",
            "step:N": "step",
            "value:Q": "mean",
            "range:N": "replicates",
            "trials:N": "trials",
        },
        ".4g",
    )
    curves = layer("curves", x, y, colour, detail="layer:N")
    guide = [] if even is None else _guide(y)
    parts = [
        *guide,
        curves.mark_line(strokeWidth=1.8),
        curves.encode(tooltip=tooltip).mark_point(
            filled=True, size=26, opacity=0.9, cursor="pointer"
        ),
    ]
    sets = {**data, "even": [] if even is None else [{"value": even[0], "text": even[1]}]}
    return finished(alt.layer(*parts).properties(width=HALF, height=260), sets)


def _layers(layers: Sequence[int]) -> alt.Color:
    """A colour for each layer of the model, also of those without experts; a ramp for many."""
    if layers[-1] >= COLOURS:
        legend = alt.Legend(orient="top", offset=6, gradientLength=200, format="d", tickMinStep=1)
        scale = alt.Scale(type="linear", domain=[0, layers[-1]], range="ramp")
        return alt.Color("layer:Q", title="layer", legend=legend, scale=scale)
    palette = Palette(range(layers[-1] + 1), layers)
    legend = palette.legend(
        orient="top",
        offset=6,
        symbolType="stroke",
        symbolStrokeWidth=2,
        symbolOpacity=1,
        columns=COLOURS,
    )
    return palette.colour("layer:N", legend if len(layers) > 1 else None, "layer")


def _guide(y: alt.Y) -> list[alt.Chart]:
    """A dashed line with its name above the right end."""
    name = layer("even", y, text="text:N").mark_text(
        align="right", baseline="bottom", dy=-3, style="reference", strokeWidth=0
    )
    return [
        layer("even", y).mark_rule(style="reference", strokeDash=[4, 3]),
        name.encode(x=alt.value("width")),
    ]


def _y(values: Sequence[float], title: str) -> alt.Y:
    low, high = min(values), max(values)
    if low > 0 and high > 12 * low:
        return log_y("value:Q", title, log_domain(values, 0.06), PLAIN_LABEL)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    # From zero up, unless all lies in a narrow band far from it.
    start = 0.0 if low >= 0 and low <= 0.7 * high else low - room
    return alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(domain=[start, high + room], nice=False),
        axis=alt.Axis(tickCount=5, format="~r"),
    )
