"""The charts of fig. 3: learned bits against parameters, and learned against demanded bits per
parameter.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from scalelab.fit.knowledge import Capacity, Point
from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    log_domain,
    log_x,
    log_y,
)
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import (
    HEIGHT,
    WIDTH,
    Data,
    behind,
    finished,
    layer,
    told,
)
from scalelab.report.numbers import NONE, rounded, short, whole

GUIDES = (1.0, 2.0)
"""Bits per parameter: what arXiv 2404.05405 found at 100 and at 1,000 exposures."""

LINES = ("mean", "fit", "all that the data hold")
_DASHES = ([1, 0], [7, 4], [2, 3])
_PLACES = 60
_INNER = WIDTH - 80
"""Width of the frame of the first chart: what is left of it holds the words of the caps."""
Span = tuple[float, float]
_TOLD = {
    "series:N": "exposures",
    "people:N": "people",
    "size:N": "parameters",
    "bits:N": "bits learned",
    "each:N": "bits per parameter",
    "share:N": "of all there are",
    "recall:N": "recall",
    "replicates:N": "replicates",
    "trials:N": "trials",
}


def series_name(exposures: float) -> str:
    """`100 exposures`."""
    return f"{exposures:,.0f} exposure{'' if exposures == 1 else 's'}"


def _mark(point: Point) -> dict[str, Any]:
    std = point.std
    recalled = [value for value in point.recall if math.isfinite(value)]
    told_of = {
        "people": f"{point.people:,}",
        "size": whole(point.params),
        "bits": f"{short(point.mean)}" + (f" ± {short(std)}" if std else ""),
        "each": f"{point.per_param:.3g} of {point.demanded:.3g}",
        "share": f"{100 * point.mean / point.bits_max:.1f} %",
        "recall": f"{sum(recalled) / len(recalled):.3g}" if recalled else NONE,
        "replicates": str(len(point.bits)),
    }
    low, high = (point.mean - std, point.mean + std) if std else (point.mean, point.mean)
    numbers = {
        "params": point.params,
        "learned": point.mean,
        "demanded": point.demanded,
        "rate": point.per_param,
    }
    ends = {"low": low if low > 0 else point.mean, "high": high}
    keyed = {
        "series": series_name(point.exposures),
        "group": f"{point.people}/{point.exposures:g}",
        "line": LINES[0],
    }
    return {**keyed, **numbers, **ends, **told_of, **behind(point.digests)}


def capacity_data(
    found: Sequence[Point], laws: Mapping[float, Capacity]
) -> dict[str, list[dict[str, Any]]]:
    """Data sets of the first chart: `points`, fitted `laws`, `guides` with `guidewords`, and `caps`
    with `capwords`.
    """
    shown = [point for point in found if point.mean > 0]
    params, bits = log_domain([point.params for point in shown], 0.05), _bits_domain(shown)
    return rounded(
        {
            "points": [_mark(point) for point in shown],
            "laws": [row for exposures, law in laws.items() for row in _law(law, exposures, shown)],
            **_guides(params, bits),
            **_caps({point.people: point.bits_max for point in shown}, params, bits),
        }
    )


def _guides(params: Span, bits: Span) -> dict[str, list[dict[str, Any]]]:
    rows = [
        {"params": at, "learned": rate * at, "guide": f"{rate:g}"}
        for rate in GUIDES
        for at in params
    ]
    words = []
    for rate in GUIDES:
        if rate * params[1] > bits[0] and rate * params[0] < bits[1]:
            # At the lower end of the guide, inside of the frame.
            at = max(params[0], bits[0] / rate) * (params[1] / params[0]) ** 0.02
            text = f"{rate:g} bit{'' if rate == 1 else 's'} a parameter"
            words.append({"params": at, "learned": rate * at, "text": text})
    return {"guides": rows, "guidewords": words}


def _caps(
    bits_max: Mapping[int, float], params: Span, bits: Span
) -> dict[str, list[dict[str, Any]]]:
    inside = {people: most for people, most in bits_max.items() if most <= bits[1]}
    rows = [
        {"people": people, "params": at, "learned": most, "line": LINES[2]}
        for people, most in inside.items()
        for at in params
    ]
    return {
        "caps": rows,
        "capwords": [
            {"params": params[1], "learned": most, "text": f"{people:,} people"}
            for people, most in inside.items()
        ],
    }


def _bits_domain(shown: Sequence[Point]) -> Span:
    """From the least learned to the most, or to what the data hold where that is hardly more."""
    top = max(point.mean for point in shown)
    caps = [point.bits_max for point in shown if point.bits_max <= 3 * top]
    return log_domain([*(point.mean for point in shown), *caps], 0.07)


def _law(law: Capacity, exposures: float, shown: Sequence[Point]) -> list[dict[str, Any]]:
    """What models of the sizes that were run could hold."""
    sizes = [point.params for point in shown if point.exposures == exposures]
    params_X = np.geomspace(min(sizes), max(sizes), _PLACES)
    rows = []
    for params, bits, band in zip(params_X, law.limit(params_X), law.band(params_X), strict=True):
        low, high = band or (bits, bits)
        keyed = {
            "series": series_name(exposures),
            "line": LINES[1],
            "params": float(params),
            "learned": float(bits),
        }
        rows.append({**keyed, "low": low, "high": high})
    return rows


def capacity_chart(data: Data, series: Palette) -> dict[str, Any]:
    """Learned bits against parameters with guides at 1 and 2 bits a parameter, and what the data of
    each number of people hold.
    """
    params = log_domain([row["params"] for row in data["points"]], 0.05)
    bits = log_domain([row["learned"] for name in ("points", "caps") for row in data[name]], 0.07)
    x, y = (
        log_x("params:Q", "parameters", params),
        log_y("learned:Q", "bits learned", bits, grid=False),
    )
    # The guides' slope on the paper: one to one in the logarithms.
    angle = -math.degrees(
        math.atan2(HEIGHT / math.log(bits[1] / bits[0]), _INNER / math.log(params[1] / params[0]))
    )
    colour, dash = _series(series, LINES)
    tooltip = told(_TOLD)
    points, laws = layer("points", x, y), layer("laws", x, y)
    parts = [
        layer("guides", x, y)
        .mark_line(style="reference", strokeWidth=1, opacity=0.8, clip=True)
        .encode(detail="guide:N"),
        layer("caps", x, y)
        .mark_line(style="reference", strokeWidth=1.4)
        .encode(dash, detail="people:N"),
        laws.mark_area(opacity=0.13, clip=True).encode(alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        laws.mark_line(strokeWidth=1.8, clip=True).encode(colour, dash),
        points.mark_line(strokeWidth=1.8, opacity=0.8).encode(colour, dash, detail="group:N"),
        layer("points", x, y, keep="datum.high > datum.low")
        .mark_rule(strokeWidth=1.5, clip=True)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        points.mark_point(filled=True, opacity=1, size=70, cursor="pointer").encode(
            colour, series.shape("series:N", _named(series)), tooltip=tooltip
        ),
        layer("guidewords", x, y, alt.Text("text:N")).mark_text(
            align="left", baseline="bottom", dy=-3, angle=angle % 360
        ),
        layer("capwords", x, y, alt.Text("text:N")).mark_text(
            align="left", baseline="middle", dx=6
        ),
    ]
    return finished(alt.layer(*parts).properties(width=_INNER, height=HEIGHT), data)


def _series(series: Palette, lines: Sequence[str]) -> tuple[alt.Color, alt.StrokeDash]:
    colour = series.colour("series:N", _named(series))
    legend = alt.Legend(
        orient="top",
        offset=4,
        columnPadding=16,
        symbolType="stroke",
        symbolSize=500,
        symbolStrokeWidth=1.8,
    )
    return colour, alt.StrokeDash("line:N", title=None, legend=legend).scale(
        domain=list(lines), range=[_DASHES[LINES.index(name)] for name in lines]
    )


def _named(series: Palette) -> alt.Legend:
    return series.legend(orient="top", offset=4, columnPadding=16, symbolOpacity=1)


def demand_data(
    found: Sequence[Point], laws: Mapping[float, Capacity]
) -> dict[str, list[dict[str, Any]]]:
    """Data sets of the second chart: `points`, fitted `laws` with their `knees`, and `all`, where
    everything is learned.
    """
    shown = [point for point in found if point.mean > 0]
    ends = log_domain([point.demanded for point in shown], 0.05)
    groups = {(point.exposures, point.people): [] for point in shown if point.exposures in laws}
    for point in shown:
        if point.exposures in laws:
            groups[point.exposures, point.people].append(point)
    return rounded(
        {
            "points": [_mark(point) for point in shown],
            "laws": [
                row
                for (exposures, _), group in groups.items()
                for row in _bend(laws[exposures], group)
            ],
            "knees": [
                {
                    "series": series_name(exposures),
                    "demanded": law.per_param,
                    "rate": law.per_param,
                    "text": f"{law.per_param:.2g} bits a parameter",
                }
                for exposures, law in laws.items()
            ],
            "all": [{"demanded": at, "rate": at, "line": LINES[2]} for at in ends],
        }
    )


def _bend(law: Capacity, group: Sequence[Point]) -> list[dict[str, Any]]:
    """The law over the sizes that were run on one number of people."""
    first, sizes = group[0], [point.params for point in group]
    params_X = np.geomspace(min(sizes), max(sizes), _PLACES)
    bits_X = law.predict(params_X, np.full(_PLACES, first.bits_max))
    keyed = {
        "series": series_name(first.exposures),
        "group": f"{first.people}/{first.exposures:g}",
        "line": LINES[1],
    }
    return [
        {**keyed, "demanded": float(first.bits_max / params), "rate": float(bits / params)}
        for params, bits in zip(params_X, bits_X, strict=True)
    ]


def demand_chart(data: Data, series: Palette) -> dict[str, Any]:
    """Learned against demanded bits per parameter; a ring where the fitted bend has its knee."""
    # The words stand left of their ring and need room there.
    places = [row["demanded"] for row in data["points"]] + [
        0.6 * row["demanded"] for row in data["knees"]
    ]
    x = log_x("demanded:Q", "bits in the data per parameter", log_domain(places, 0.05), PLAIN_LABEL)
    top = [row["rate"] for name in ("points", "knees") for row in data[name]]
    y = log_y("rate:Q", "bits learned per parameter", log_domain(top, 0.08), PLAIN_LABEL)
    colour, dash = _series(series, LINES[1:])
    marks, knees = layer("points", x, y), layer("knees", x, y)
    parts = [
        layer("all", x, y).mark_line(style="reference", strokeWidth=1.4, clip=True).encode(dash),
        layer("laws", x, y)
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(colour, dash, detail="group:N"),
        marks.mark_point(filled=True, opacity=1, size=70, cursor="pointer").encode(
            colour, series.shape("series:N", _named(series)), tooltip=told(_TOLD)
        ),
        knees.mark_point(filled=False, size=230, strokeWidth=2, clip=True).encode(colour),
        knees.mark_text(align="right", dx=-14, dy=-6, clip=True).encode(alt.Text("text:N"), colour),
    ]
    return finished(alt.layer(*parts).properties(width=WIDTH, height=HEIGHT), data)
