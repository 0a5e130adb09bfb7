"""The charts of fig. 8: a heat map of shapes, and the best of them with their intervals."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from scalelab.core.metrics import metric_of
from scalelab.fit.allocation import Ranking, Shape
from scalelab.report.charts.marks import (
    WIDTH,
    Data,
    behind,
    finished,
    layer,
    told,
)
from scalelab.report.numbers import NONE, PLUS_MINUS, rounded, whole

NAMES = {
    "model.layers": "layers",
    "model.width": "width",
    "model.heads": "heads",
    "model.kv_heads": "key heads",
    "model.head_width": "head width",
    "model.ffn.ratio": "FFN ratio",
    "model.ffn.width": "FFN width",
}
FORMS = {"metrics.recall": ".2f"}
"""How a metric is written in a cell, where that is not four digits."""
SHOWN = 12
"""Most shapes in the chart of the best."""

_BELOW = {"model.ffn.width": "FFN"}
"""What a cell calls a size, where that is shorter."""
_ROW, _CELL = 26, 62
_ABREAST = 3
"""Most fields in a row; more than that are drawn in pairs, or a narrow page could not be read."""
_BRIGHT = 0.6
"""The share of the ramp above which dark letters stand out, whatever the theme: the ramp is the
same in both.
"""
_TOLD = {
    "shape:N": "shape",
    "size:N": "parameters",
    "told:N": "mean",
    "spread:N": "spread",
    "values:N": "replicates'",
    "best:N": "best",
    "trials:N": "trials",
}


def named(shape: Shape, paths: Sequence[str]) -> str:
    """`2 layers, width 24, 1 head`."""
    return ", ".join(_named(path, shape.sizes[path]) for path in paths if path in shape.sizes)


def _named(path: str, value: float) -> str:
    if path in ("model.layers", "model.heads"):
        name = NAMES[path]
        return f"{value:g} {name if value != 1 else name[:-1]}"
    return f"{NAMES[path]} {value:g}"


def shape_rows(ranking: Ranking, solved: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each shape, the best first: its place in the heat map, its mean, and what its
    tooltip tells.
    """
    means = [shape.mean for shape in ranking.shapes]
    low, high = min(means), max(means)
    rivals = {shape.place for shape in ranking.rivals()} if ranking.noise is not None else set()
    rows = []
    for shape, best in zip(ranking.shapes, ranking.best, strict=True):
        told_of = _told(ranking, shape, best, [*ranking.axes, *solved])
        below = ", ".join(
            f"{_BELOW.get(path, NAMES[path])} {shape.sizes[path]:g}"
            for path in solved
            if path in shape.sizes
        )
        dark = high > low and (shape.mean - low) / (high - low) < _BRIGHT
        marks = {
            "mean": shape.mean,
            "text": f"{shape.mean:{FORMS.get(ranking.metric, '.4g')}}",
            "below": below,
            "dark": dark,
            "rival": shape.place in rivals,
        }
        rows.append({**_place(ranking, shape), **marks, **told_of, **behind(shape.digests)})
    return rounded(rows)


def _place(ranking: Ranking, shape: Shape) -> dict[str, Any]:
    down, along, *rest = [*ranking.axes, *[""] * (2 - len(ranking.axes))]
    value = {path: f"{shape.sizes[path]:g}" if path else "" for path in (down, along)}
    return {"down": value[down], "along": value[along], "part": named(shape, rest)}


def _told(ranking: Ranking, shape: Shape, best: float, paths: Sequence[str]) -> dict[str, str]:
    half = ranking.half(shape)
    return {
        "shape": named(shape, paths),
        "size": whole(shape.params),
        "told": f"{shape.mean:.3g}" + (f"{PLUS_MINUS}{half:.2g}" if half is not None else ""),
        "spread": f"{shape.std:.2g}" if shape.std is not None else NONE,
        "values": ", ".join(f"{value:.3g}" for value in shape.measured),
        "best": f"with probability {best:.2g}" if ranking.noise is not None else NONE,
    }


def _said(ranking: Ranking) -> str:
    return metric_of(ranking.metric)


def heat_chart(data: Data, ranking: Ranking) -> dict[str, Any]:
    """A cell for each shape, in a field for each value of the third axis; a frame where a shape is
    not told from the best.

    Data set `shapes`: down, along, part, mean, text, below, dark, rival, and what the tooltip
    tells.
    """
    down, along, *_ = [*(NAMES[axis] for axis in ranking.axes), "", ""]
    levels = {field: _levels(data["shapes"], field) for field in ("down", "along", "part")}
    fields = max(1, len(levels["part"]))
    x = alt.X(
        "along:O",
        title=along or None,
        sort=levels["along"],
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False),
    )
    y = alt.Y(
        "down:O",
        title=down or None,
        sort=levels["down"][::-1],
        axis=alt.Axis(domain=False, ticks=False),
    )
    colour = alt.Color(
        "mean:Q",
        legend=alt.Legend(title=_said(ranking), gradientLength=150, format=".3~g", tickCount=5),
    ).scale(type="linear", range="heatmap", zero=False, nice=False)
    letters = alt.condition("datum.dark", alt.value("white"), alt.value("black"))
    # Every layer answers to the pointer, the letters too.
    cells = alt.Chart().encode(x, y, tooltip=told(_TOLD))
    parts = [
        cells.mark_rect(cursor="pointer").encode(colour),
        cells.transform_filter("datum.rival")
        .mark_rect(filled=False, strokeWidth=2.5, cursor="pointer")
        .encode(stroke=letters),
        cells.mark_text(fontSize=15, fontWeight="bold", dy=-7, cursor="pointer").encode(
            alt.Text("text:N"), color=letters
        ),
        cells.mark_text(fontSize=11, dy=11, cursor="pointer").encode(
            alt.Text("below:N"), color=letters
        ),
    ]
    columns = fields if fields <= _ABREAST else 2
    stack = alt.layer(*parts).properties(
        width=(WIDTH - 30 * (columns - 1)) // columns, height=_CELL * len(levels["down"])
    )
    header = alt.Header(title=None, labelFontSize=13, labelOrient="top")
    part = alt.Facet("part:N", sort=levels["part"], header=header)
    faceted = stack.facet(part, data=alt.NamedData(name="shapes"), columns=columns, spacing=30)
    return finished(faceted, data)


def _levels(rows: Sequence[Any], field: str) -> list[str]:
    """Values as they are told, the numbers in them in order."""
    return sorted(
        {row[field] for row in rows},
        key=lambda text: [
            float(word) for word in text.replace(",", " ").split() if word[0].isdigit()
        ],
    )


def best_rows(ranking: Ranking, solved: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Data sets of the chart of the best shapes: `best`, a row for each, and `values`, a row for
    each replicate.
    """
    best, values = [], []
    for shape, chance in list(zip(ranking.shapes, ranking.best, strict=True))[:SHOWN]:
        told_of = _told(ranking, shape, chance, [*ranking.axes, *solved])
        low, high = ranking.interval(shape) or (shape.mean, shape.mean)
        says = _chance(chance) if ranking.noise is not None else ""
        best.append(
            {
                **told_of,
                "mean": shape.mean,
                "low": low,
                "high": high,
                "chance": says,
                **behind(shape.digests),
            }
        )
        for value, digest in zip(shape.measured, shape.digests, strict=True):
            values.append(
                {
                    **told_of,
                    "mean": value,
                    "told": f"{value:.4g}, one replicate",
                    **behind([digest]),
                }
            )
    return rounded({"best": best, "values": values})


def _chance(chance: float) -> str:
    return f"{100 * chance:.0f} %" if chance >= 0.005 else "< 1 %" if chance else "0 %"


def best_chart(data: Data, metric: str) -> dict[str, Any]:
    """Means with their t intervals, the replicates behind them, and the probability of being the
    best at the right.
    """
    ends = [row[name] for row in data["best"] for name in ("low", "high")] + [
        row["mean"] for row in data["values"]
    ]
    room = 0.04 * (max(ends) - min(ends) or 1.0)
    scale = alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False, zero=False)
    x = alt.X("mean:Q", title=metric, scale=scale, axis=alt.Axis(tickCount=6, format=".3~g"))
    y = alt.Y(
        "shape:N",
        title=None,
        sort=[row["shape"] for row in data["best"]],
        axis=alt.Axis(labelLimit=340, domain=False, ticks=False),
    )
    tooltip = told(_TOLD)
    best = layer("best", x, y)
    parts = [
        best.mark_rule(strokeWidth=1.8, style="ink").encode(alt.X("low:Q"), alt.X2("high:Q")),
        layer("values", x, y)
        .mark_point(style="reference", filled=True, opacity=0.5, size=34, cursor="pointer")
        .encode(tooltip=tooltip),
        best.mark_point(style="ink", filled=True, opacity=1, size=80, cursor="pointer").encode(
            tooltip=tooltip
        ),
        layer("best", y)
        .mark_text(align="left", dx=10, style="label")
        .encode(x=alt.value("width"), text="chance:N"),
    ]
    return finished(
        alt.layer(*parts).properties(width=WIDTH - 220, height=_ROW * len(data["best"])), data
    )
