"""The page: one HTML file that opens from disk, asks no host for anything, and prints.

The Vega bundle is in it once. The charts' specs are data (JSON that no browser runs), a still
picture of each chart stands in for it on paper and where scripts are off, and the tables are plain
HTML. All text from data is escaped.
"""

from functools import cache
from html import escape

import vl_convert

from scalelab.report.charts.themes import (
    THEMES,
    VEGA_LITE,
    to_svg,
)
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.html.markup import (
    asset,
    data,
    folded,
    head,
    image,
    items,
    passage,
    prose,
    section,
)
from scalelab.report.runs import environments_table, runs_table

HALF = 400
"""A chart of at most this width stands beside another, where the window is wide enough."""


def to_page(figure: Figure, drawing: Drawing, rows: Rows) -> str:
    """The whole page; the same drawing gives the same bytes."""
    kicker = f"Fig. {figure.number} · {', '.join(sorted(rows.specs)) or figure.name}"
    parts = [
        head(f"Fig. {figure.number}: {drawing.title}"),
        f'<main data-figure="fig-{figure.number}">',
        f'<header><p class="kicker">{escape(kicker)}</p>',
        '<button id="theme" type="button">Light or dark</button></header>',
        f"<h1>{escape(drawing.title)}</h1>",
        f'<ul class="verdict">{items(drawing.verdict)}</ul>',
        _warnings(drawing),
        '<div class="panels">',
        *map(_panel, drawing.panels),
        *map(passage, drawing.passages),
        "</div>",
        *map(section, drawing.tables),
        f"<h2>How to read it</h2><ul>{items(drawing.reading)}</ul>",
        f'<h2>Methods</h2><div class="box"><ul>{_filter(rows)}{items(drawing.methods)}</ul></div>',
        folded("runs", runs_table(rows, drawing.metric)),
        folded("environments", environments_table(rows)) if rows.environments else "",
        '</main><aside id="picked" aria-live="polite" hidden></aside>',
        *(data(f"chart-{panel.name}", panel.chart) for panel in drawing.panels),
        data("themes", THEMES),
        f"<script>{_vega()}</script><script>{asset('page.js')}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def to_failed_page(number: int, title: str, why: str) -> str:
    """The page that stands in the place of a figure that could not be drawn."""
    again = f"scalelab --debug report --fig {number}"
    parts = [
        head(f"Fig. {number}: {title}"),
        f'<main><header><p class="kicker">Fig. {number} · failed</p></header>',
        f"<h1>{escape(title)}</h1>",
        f'<div class="warnings"><h2>This figure could not be drawn</h2><p>{escape(why)}</p></div>',
        f'<p class="note"><code>{escape(again)}</code> tries again and shows where it fails; the'
        ' other figures are in the <a href="index.html">index</a>.</p></main></body></html>',
    ]
    return "\n".join(parts) + "\n"


@cache
def _vega() -> str:
    """Vega, Vega-Lite and the embedder as one script.

    It is kept in a function, so that its names stay its own.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    assert "</script" not in bundle.lower(), "the bundle would end its own element"
    return f"(()=>{{{bundle}\n}})();"


def _filter(rows: Rows) -> str:
    """Which rows were chosen; the filter stands as it was typed, to be copied."""
    if rows.filter is None:
        return ""
    return (
        f"<li>Only rows that match <code>{escape(rows.filter)}</code>: {rows.trials.height:,} of"
        f" {rows.before:,} rows.</li>"
    )


def _warnings(drawing: Drawing) -> str:
    said = "".join(
        f"<li><code>{escape(warned.code)}</code> {prose(warned.text)}</li>"
        for warned in drawing.warnings
    )
    count = f"{len(drawing.warnings)} warning{'s' if len(drawing.warnings) > 1 else ''}"
    return f'<div class="warnings"><h2>{count}</h2><ul>{said}</ul></div>' if said else ""


def _panel(panel: Panel) -> str:
    width = panel.chart.get("width")
    size = "half" if isinstance(width, int | float) and width <= HALF else "full"
    title = f"<h2>{escape(panel.title)}</h2>" if panel.title else ""
    still = image(to_svg(panel.chart).encode(), "svg+xml", panel.caption, "still")
    tools = "".join(
        f'<button type="button" data-save="{kind}">Save {kind.upper()}</button>'
        for kind in ("svg", "png")
    )
    numbers = folded(f"numbers-{panel.name}", panel.table) if panel.table is not None else ""
    return (
        f'<figure class="{size}" id="{escape(panel.name)}">{title}{still}<div'
        f' class="live"></div><figcaption>{prose(panel.caption)}</figcaption><div'
        f' class="tools">{tools}</div>{numbers}</figure>'
    )
