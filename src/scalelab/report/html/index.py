"""The index: every figure that was drawn, with its picture, what it says, and what it was drawn
from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from scalelab.report.charts.themes import THEMES, to_png
from scalelab.report.figure import Drawing, Figure
from scalelab.report.html.markup import asset, head, image, items

_FAILED = '<article class="failed">'

_SAID = 3
"""Sentences of a verdict that are shown."""


@dataclass(frozen=True)
class Drawn:
    """A figure on the index; `others` are experiments that have data for it, too, and were not
    drawn.
    """

    figure: Figure
    drawing: Drawing
    experiments: Sequence[str]
    others: Sequence[str]
    page: str


@dataclass(frozen=True)
class Failed:
    """A figure that could not be drawn, and why."""

    number: int
    title: str
    why: str

    @property
    def page(self) -> str:
        """The file that stands in its place."""
        return f"fig-{self.number}.html"


def to_index(cards: Mapping[int, str]) -> str:
    """The page `index.html` of cards by the figures' numbers; the same cards give the same bytes.

    `read_cards` reads them again.
    """
    failed = sum(_FAILED in card for card in cards.values())
    count = f"{len(cards)} figure{'s' if len(cards) > 1 else ''}"
    count += f", {failed} failed" if failed else ""
    parts = [
        head("Figures"),
        f'<main class="index"><header><p class="kicker">scalelab · {count}</p>',
        '<button id="theme" type="button">Light or dark</button></header>',
        "<h1>Figures</h1>",
        *(f"<!-- fig {number} -->\n{card}\n<!-- end -->" for number, card in sorted(cards.items())),
        f"</main><script>{asset('index.js')}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


def read_cards(index: str) -> dict[int, str]:
    """The cards of an index by the figures' numbers; none where it is of an earlier version."""
    found = re.findall(r"<!-- fig (\d+) -->\n(.*?)\n<!-- end -->", index, re.DOTALL)
    return {int(number): card for number, card in found}


def to_failed_card(failed: Failed) -> str:
    """The card of a figure that failed."""
    return (
        f'{_FAILED}<div><p class="kicker">Fig. {failed.number} · failed</p>'
        f'<h2><a href="{escape(failed.page)}">{escape(failed.title)}</a></h2>'
        f'<p class="note">It could not be drawn: {escape(failed.why)}</p></div></article>'
    )


def to_card(drawn: Drawn) -> str:
    """The card of a figure: its picture, what it says, and what it was drawn from."""
    figure, drawing = drawn.figure, drawn.drawing
    chart, caption = _small(drawing.panels[0].chart), drawing.panels[0].caption
    pictures = "".join(
        image(to_png(chart, theme, scale=1.5), "png", caption, f"thumb {theme}") for theme in THEMES
    )
    number = f"Fig. {figure.number} · {', '.join(drawn.experiments)}"
    warned = len(drawing.warnings)
    warning = f'<p class="note">{warned} warning{"s" if warned > 1 else ""}</p>' if warned else ""
    return (
        f'<article><a href="{escape(drawn.page)}">{pictures}</a><div>'
        f'<p class="kicker">{escape(number)}</p>'
        f'<h2><a href="{escape(drawn.page)}">{escape(drawing.title)}</a></h2>'
        f'<ul class="said">{items(drawing.verdict[:_SAID])}</ul>'
        f"{warning}{_others(drawn)}</div></article>"
    )


def _small(chart: Mapping[str, Any]) -> dict[str, Any]:
    """The chart at a size at which its labels can still be read; one of several parts is shrunk by
    the browser.
    """
    return (
        {**chart, "width": 520, "height": 320}
        if isinstance(chart.get("width"), int | float)
        else dict(chart)
    )


def _others(drawn: Drawn) -> str:
    if not drawn.others:
        return ""
    command = f"scalelab report --fig {drawn.figure.number} --experiment {drawn.others[0]}"
    listed = ", ".join(drawn.others)
    return (
        f'<p class="note">Also to be drawn from {escape(listed)}:'
        f" <code>{escape(command)}</code></p>"
    )
