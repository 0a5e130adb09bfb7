"""What every chart shares: two themes, log axes that can be read, data sets by name, pictures.

A chart names no colour: series take the theme's category range in the order of their domain, and marks take the theme's
styles, so that one spec serves light, dark and print. The palette is Okabe and Ito's, safe for colour-blind readers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

Data = Mapping[str, Sequence[Mapping[str, Any]]]

VEGA_LITE = "6.4"
"""The version of Vega-Lite that pages and pictures are drawn with."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
WIDTH, HEIGHT = 760, 460

_CLIP = re.compile(r'(?<=id=")clip\d+(?=")|(?<=url\(#)clip\d+(?=\))')


SIZE_LABEL = "replace(format(datum.value, '~s'), 'k', 'K')"
"""Labels of a log axis of sizes: 2K, 10K, 1M."""


def _theme(paper: str, ink: str, faint: str, grid: str, series: Sequence[str]) -> dict[str, Any]:
    return {
        "background": paper,
        "font": FONT,
        "view": {"stroke": None},
        "range": {"category": list(series)},
        "axis": {
            "labelColor": faint, "titleColor": ink, "gridColor": grid, "domainColor": faint, "tickColor": faint,
            "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal", "titlePadding": 10, "labelPadding": 5,
        },
        "legend": {
            "labelColor": ink, "titleColor": ink, "labelFontSize": 12.5, "symbolStrokeColor": faint, "symbolSize": 110,
            "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 5}},
        },
        "text": {"color": faint, "fontSize": 12},
        "style": {"open": {"fill": paper}, "reference": {"color": faint, "stroke": faint}},
    }  # fmt: skip


THEMES: dict[str, dict[str, Any]] = {
    "light": _theme("#ffffff", "#1c1f24", "#5b6470", "#e8eaee", ("#0072b2", "#d55e00", "#009e73", "#cc79a7")),
    "dark": _theme("#14171c", "#e8eaed", "#9aa4b2", "#2a2f38", ("#56b4e9", "#e69f00", "#2bc49a", "#e39bc4")),
}


def finished(chart: alt.TopLevelMixin, data: Data) -> dict[str, Any]:
    """The spec of a chart with its named data sets inside, without a theme; the same chart gives the same spec."""
    spec = chart.to_dict()
    spec.pop("config", None)
    spec["$schema"] = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.split('.')[0]}.json"
    return {**spec, "datasets": {name: list(rows) for name, rows in data.items()}}


def to_svg(chart: Mapping[str, Any], theme: str = "light") -> str:
    """The chart as SVG text; the same chart gives the same text."""
    picture = vl_convert.vegalite_to_svg(dict(chart), vl_version=VEGA_LITE, config=THEMES[theme])
    # Clips are numbered through the life of the converter; here, through the picture.
    order = {name: f"clip{index}" for index, name in enumerate(dict.fromkeys(_CLIP.findall(picture)))}
    return _CLIP.sub(lambda found: order[found[0]], picture)


def to_png(chart: Mapping[str, Any], theme: str = "light") -> bytes:
    """The chart as a PNG picture, two pixels to the point."""
    return vl_convert.vegalite_to_png(dict(chart), vl_version=VEGA_LITE, scale=2, config=THEMES[theme])


def log_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """1, 2, 5, 10, ... within [low, high], or only the tens where that would be too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine, coarse = ([step * 10.0**decade for decade in decades for step in steps] for steps in ((1, 2, 5), (1,)))
    shown = [tick for tick in fine if low <= tick <= high]
    return shown if len(shown) <= most else [tick for tick in coarse if low <= tick <= high]


def thinned(values: Sequence[float], most: int = 9) -> list[float]:
    """Every k-th value, from the last one back, so that at most `most` are left."""
    step = math.ceil(len(values) / most)
    return sorted(sorted(values, reverse=True)[::step])
