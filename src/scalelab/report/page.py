"""The page: one HTML file that opens from disk, asks no host for anything, and prints.

The Vega bundle is in it once. The chart's spec is data (JSON that no browser runs), a still picture of the chart stands in for
it on paper and where scripts are off, and the tables are plain HTML. All text from data is escaped.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import vl_convert

from scalelab.report.charts import THEMES, VEGA_LITE, to_svg
from scalelab.report.figure import Drawing, Figure, Rows, Table
from scalelab.report.runs import environments_table, runs_table

_KINDS = {"digest": "digest", "commit": "digest", "changed since": "digest", "packages": "wide", "command": "wide"}
"""How columns are shown that are no numbers: digests at ten digits (the whole is there to copy), long text in lines."""

# Nothing from any host; Vega compiles its expressions, and styles and scripts are in the page.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"


def to_page(figure: Figure, drawing: Drawing, rows: Rows) -> str:
    """The whole page; the same drawing gives the same bytes."""
    kicker = f"Fig. {figure.number} · {', '.join(sorted(rows.specs)) or figure.name}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>Fig. {figure.number}: {escape(drawing.title)}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<style>{_asset('page.css')}</style>",
        '<script>document.documentElement.classList.add("js")</script></head><body><main>',
        f'<header><p class="kicker">{escape(kicker)}</p><button id="theme" type="button">Light or dark</button></header>',
        f"<h1>{escape(drawing.title)}</h1>",
        f'<ul class="verdict">{_items(drawing.verdict)}</ul>',
        f'<figure>{_still(drawing)}<div class="live"></div>',
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>",
        *(_section(table) for table in drawing.tables),
        f"<h2>How to read it</h2><ul>{_items(drawing.reading)}</ul>",
        f'<h2>Methods</h2><div class="box"><ul>{_items(drawing.methods)}</ul></div>',
        _folded("runs", runs_table(rows, drawing.metric)),
        _folded("environments", environments_table(rows)),
        f"</main>{_data('chart', drawing.chart)}{_data('themes', THEMES)}",
        f"<script>{_vega()}</script><script>{_asset('page.js')}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


@cache
def _asset(name: str) -> str:
    return files("scalelab.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and the embedder as one script. It is kept in a function, so that its names stay its own."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    assert "</script" not in bundle.lower(), "the bundle would end its own element"
    return f"(()=>{{{bundle}\n}})();"


def _data(name: str, value: Any) -> str:
    """JSON in the page; `<` is written as an escape, so that no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _still(drawing: Drawing) -> str:
    # As an image, so that the identifiers inside it can't meet those of the live chart.
    encoded = base64.b64encode(to_svg(drawing.chart).encode()).decode()
    return f'<img class="still" alt="{escape(drawing.caption)}" src="data:image/svg+xml;base64,{encoded}">'


def _items(sentences: Iterable[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _section(table: Table) -> str:
    return f'<h2>{escape(table.title)}</h2><div class="scroll short">{_table(table)}</div>'


def _folded(name: str, table: Table) -> str:
    tools = f'<div class="tools"><button type="button" data-csv="{name}">Save as CSV</button></div>'
    title, note = f"{escape(table.title)} ({len(table.rows):,})", f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<details id="{name}"><summary>{title}</summary>{tools}<div class="scroll">{_table(table, sortable=True)}</div>{note}</details>'


def _table(table: Table, sortable: bool = False) -> str:
    kinds = ["number" if index in table.numeric else _KINDS.get(title, "") for index, title in enumerate(table.columns)]
    heads = "".join(_head(title, kind, sortable) for title, kind in zip(table.columns, kinds, strict=True))
    body = "\n".join(_row(row, kinds) for row in table.rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _head(title: str, kind: str, sortable: bool) -> str:
    text = f'<button type="button">{escape(title)}</button>' if sortable else escape(title)
    return f'<th scope="col"{_class(kind)}>{text}</th>'


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td{_class(kind)}>{escape(text)}</td>' for text, kind in zip(row, kinds, strict=True))}</tr>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
