"""What every chart shares: two themes, log axes that can be read, data sets by name, pictures.

A chart names no colour: series take the theme's category range in the order of their domain,
numbers its `ramp` (lines and points) or `heatmap` (rectangles), signed numbers its `diverging`
range, and marks the theme's styles, so that one spec serves light, dark and print. Series colours
are Okabe and Ito's, ramps are parts of viridis: both are safe for colour-blind readers, and viridis
has even steps. On a ramp, more stands out further from the paper.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import altair as alt
import vl_convert

from scalelab.core.canon import SHORT

Data = Mapping[str, Sequence[Mapping[str, Any]]]

VEGA_LITE = "6.4"
"""The version of Vega-Lite that pages and pictures are drawn with."""

FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial,"
    " sans-serif"
)
WIDTH, HEIGHT = 760, 460

_NUMBERED = re.compile(
    r'(?<=id=")(?:clip|gradient_)\d+(?=")|(?<=url\(#)(?:clip|gradient_)\d+(?=\))'
)

SIZE_LABEL = "replace(replace(format(datum.value, '~s'), 'k', 'K'), 'G', 'B')"
"""Labels of an axis of sizes or tokens: 2K, 10M, 1B."""
POWER_LABEL = "replace(format(datum.value, '~e'), '+', '')"
"""Labels of an axis of FLOPs: 1e18, 2e18."""
PLAIN_LABEL = "format(datum.value, '~r')"
"""Labels of an axis of losses and ratios: 0.05, 2.5, 20."""

_VIRIDIS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)
_FEW = 3
"""Ticks that an axis has at least, where it can."""
_SHOWN = 6
"""Digests in a tooltip; the page names more on a click, and the table of runs has all."""


def _theme(
    paper: str,
    ink: str,
    faint: str,
    grid: str,
    series: Sequence[str],
    ramp: Sequence[str],
    diverging: Sequence[str],
) -> dict[str, Any]:
    return {
        "background": paper,
        "font": FONT,
        "view": {"stroke": None},
        "mark": {"color": series[0]},
        "title": {"color": ink, "fontSize": 12.5, "fontWeight": "normal", "anchor": "start"},
        "range": {
            "category": list(series),
            "ramp": list(ramp),
            "heatmap": list(_VIRIDIS),
            "diverging": list(diverging),
        },
        "axis": {
            "labelColor": faint,
            "titleColor": ink,
            "gridColor": grid,
            "domainColor": faint,
            "tickColor": faint,
            "labelFontSize": 12,
            "titleFontSize": 13,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "labelPadding": 5,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 12.5,
            "titleFontSize": 12.5,
            "titleFontWeight": "normal",
            "symbolStrokeColor": faint,
            "symbolSize": 110,
            "symbolBaseFillColor": faint,
            "symbolBaseStrokeColor": faint,
            "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 5}},
        },
        "header": {"labelColor": ink, "titleColor": ink},
        "text": {"color": faint, "fontSize": 12},
        "style": {
            "open": {"fill": paper},
            "reference": {"color": faint, "stroke": faint},
            "ink": {"color": ink, "stroke": ink, "fill": ink},
            "halo": {
                "color": paper,
                "fill": paper,
                "stroke": paper,
                "strokeWidth": 4,
                "strokeJoin": "round",
            },
            "label": {"color": ink, "fill": ink, "stroke": None, "fontSize": 11.5},
        },
    }


THEMES: dict[str, dict[str, Any]] = {
    "light": _theme(
        *("#ffffff", "#1c1f24", "#5b6470", "#e8eaee"),
        series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#5b6470"),
        ramp=_VIRIDIS[6::-1],
        diverging=("#0072b2", "#7fb8d8", "#eceef1", "#eaae7f", "#d55e00"),
    ),
    "dark": _theme(
        *("#14171c", "#e8eaed", "#9aa4b2", "#2a2f38"),
        series=("#56b4e9", "#e69f00", "#2bc49a", "#e39bc4", "#f0e442", "#9aa4b2"),
        ramp=_VIRIDIS[3:],
        diverging=("#56b4e9", "#3f7799", "#2a2f38", "#8d6a1c", "#e69f00"),
    ),
}
"""Names of the styles: `open` (filled with paper), `reference` (lines that are no data), `ink`,
`halo` under a `label`.
"""


def finished(chart: alt.TopLevelMixin | Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The spec of a chart with its named data sets inside, without a theme; the same chart gives
    the same spec.
    """
    spec = dict(chart) if isinstance(chart, Mapping) else chart.to_dict()
    spec.pop("config", None)
    spec["$schema"] = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.split('.')[0]}.json"
    return {**spec, "datasets": {name: list(rows) for name, rows in data.items()}}


def to_svg(chart: Mapping[str, Any], theme: str = "light") -> str:
    """The chart as SVG text; the same chart gives the same text."""
    # Without a description of every mark, which is most of the text: the picture as a whole has
    # one.
    picture = vl_convert.vegalite_to_svg(
        dict(chart), vl_version=VEGA_LITE, config={**THEMES[theme], "aria": False}
    )
    # Clips and gradients are numbered through the life of the converter; here, through the picture.
    names = dict.fromkeys(_NUMBERED.findall(picture))
    order = {name: f"{name.rstrip('0123456789')}{index}" for index, name in enumerate(names)}
    return _NUMBERED.sub(lambda found: order[found[0]], picture)


def to_png(chart: Mapping[str, Any], theme: str = "light", scale: float = 2) -> bytes:
    """The chart as a PNG picture, so many pixels to the point."""
    return vl_convert.vegalite_to_png(
        dict(chart), vl_version=VEGA_LITE, scale=scale, config=THEMES[theme]
    )


def layer(name: str, *channels: Any, keep: str | None = None, **named: Any) -> alt.Chart:
    """A chart of one named data set, or of those of its rows for which the expression `keep` holds;
    channels as for `encode`.
    """
    chart = alt.Chart(alt.NamedData(name=name)).encode(*channels, **named)
    return chart if keep is None else chart.transform_filter(keep)


def told(fields: Mapping[str, str], form: str = "") -> list[alt.Tooltip]:
    """A tooltip from fields (`facts:Q`) to their names; `form` is the format of the quantities,
    such as `,d`.
    """
    return [
        alt.Tooltip(
            field, title=title, format=form if form and field.endswith(":Q") else alt.Undefined
        )
        for field, title in fields.items()
    ]


def behind(digests: Sequence[str]) -> dict[str, Any]:
    """Fields of a mark that lead to its trials: `trials`, short, for the tooltip; `digests`, whole,
    for a click on the mark.
    """
    more = f" and {len(digests) - _SHOWN} more" if len(digests) > _SHOWN else ""
    shown = ", ".join(digest[:SHORT] for digest in digests[:_SHOWN]) + more
    return {"trials": shown, "digests": list(digests)}


def labelled(name: str, *channels: Any, **named: Any) -> alt.LayerChart:
    """Text on a halo of paper, legible over lines: of contours, guides, curves."""
    text = layer(name, *channels, **named)
    return cast(
        alt.LayerChart, alt.layer(text.mark_text(style="halo"), text.mark_text(style="label"))
    )


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
