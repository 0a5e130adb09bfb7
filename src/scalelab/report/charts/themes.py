"""Two themes, light and dark, and pictures of charts in them.

A chart names no colour: series take the theme's category range in the order of their domain,
numbers its `ramp` (lines and points) or `heatmap` (rectangles), signed numbers its `diverging`
range, and marks the theme's styles, so that one spec serves light, dark and print. Series colours
are Okabe and Ito's, ramps are parts of viridis: both are safe for colour-blind readers, and viridis
has even steps. On a ramp, more stands out further from the paper.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

VEGA_LITE = "6.4"
"""The version of Vega-Lite that pages and pictures are drawn with."""

FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial,"
    " sans-serif"
)

_NUMBERED = re.compile(
    r'(?<=id=")(?:clip|gradient_)\d+(?=")|(?<=url\(#)(?:clip|gradient_)\d+(?=\))'
)

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
