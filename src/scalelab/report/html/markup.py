"""HTML of pages: what a browser may load, tables, lists, data and pictures inside the file.

All text is escaped here.
"""

import base64
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from scalelab.core.jsonable import compact_json
from scalelab.report.figure import Passage, Piece, Table

# Nothing from any host; Vega compiles its expressions, and styles and scripts are in the page.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data:"
)

_CODE, _POWER = re.compile(r"`([^`]+)`"), re.compile(r"\^(\N{MINUS SIGN}?\d+(?:\.\d+)?)")
_KINDS = {
    "digest": "digest",
    "commit": "digest",
    "changed since": "digest",
    "packages": "wide",
    "command": "wide",
}
"""How columns are shown that are no numbers: digests at ten digits (the whole is there to copy),
long text in lines.
"""


def head(title: str) -> str:
    """Everything up to the body's content; scripts mark the document, so that what needs them can
    hide without.
    """
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            (
                '<meta name="viewport" content="width=device-width, initial-scale=1"><meta'
                ' name="color-scheme" content="light dark">'
            ),
            '<link rel="icon" href="data:,">',
            f"<style>{asset('page.css')}</style>",
            '<script>document.documentElement.classList.add("js")</script></head><body>',
        )
    )


@cache
def asset(name: str) -> str:
    """A file of this room as text."""
    return files("scalelab.report.html").joinpath(name).read_text(encoding="utf-8")


def data(name: str, value: Any) -> str:
    """JSON in the page; `<` is written as an escape, so that no text in it can end the element."""
    text = compact_json(value).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def image(picture: bytes, kind: str, alt: str, styled: str) -> str:
    """A picture inside the page.

    As an image, so that the identifiers inside an SVG can't meet others.
    """
    encoded = base64.b64encode(picture).decode()
    return f'<img class="{styled}" alt="{escape(alt)}" src="data:image/{kind};base64,{encoded}">'


def items(sentences: Iterable[str]) -> str:
    """List items."""
    return "".join(f"<li>{prose(sentence)}</li>" for sentence in sentences)


def prose(sentence: str) -> str:
    """A sentence: `words` in backticks are code, C^0.5 is a power, and a per cent sign stays with
    its number.
    """
    text = escape(sentence).replace(" %", "\N{NO-BREAK SPACE}%")
    return _CODE.sub(r"<code>\1</code>", _POWER.sub(r"<sup>\1</sup>", text))


def section(table: Table) -> str:
    """A short table under a heading."""
    note = f'<p class="note">{prose(table.note)}</p>' if table.note else ""
    return f'<h2>{escape(table.title)}</h2><div class="scroll short">{_table(table)}</div>{note}'


def folded(name: str, table: Table) -> str:
    """A table behind its title, to sort and to save as CSV."""
    tools = (
        f'<div class="tools"><button type="button" data-csv="{escape(name)}">Save as'
        " CSV</button></div>"
    )
    title, note = (
        f"{escape(table.title)} ({len(table.rows):,})",
        f'<p class="note">{prose(table.note)}</p>' if table.note else "",
    )
    inside = f'{tools}<div class="scroll">{_table(table, sortable=True)}</div>{note}'
    return f'<details id="{escape(name)}"><summary>{title}</summary>{inside}</details>'


def passage(found: Passage) -> str:
    """A text in colours, with what they mean."""
    legend = "".join(f"<li>{_piece(piece)}</li>" for piece in found.legend)
    rows = "".join(f"<p>{''.join(map(_piece, row))}</p>" for row in found.rows)
    return (
        f'<section class="passage" id="{escape(found.name)}"><h2>{escape(found.title)}</h2><ul'
        f' class="legend">{legend}</ul><div class="text">{rows}</div><p'
        f' class="note">{prose(found.caption)}</p></section>'
    )


def _piece(piece: Piece) -> str:
    # A line's end shows where it is: its colour would be nowhere.
    text = escape(piece.text).replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n")
    title = f' title="{escape(piece.title)}"' if piece.title else ""
    return f'<span style="--level:{piece.level:.3g}"{title}>{text}</span>'


def _table(table: Table, sortable: bool = False) -> str:
    usual = "text" if table.texts else ""
    kinds = [
        "number" if index in table.numeric else _KINDS.get(title, usual)
        for index, title in enumerate(table.columns)
    ]
    heads = "".join(
        _head(title, kind, sortable) for title, kind in zip(table.columns, kinds, strict=True)
    )
    rows = (
        "".join(
            f"<td{_class(kind)}>{escape(text)}</td>" for text, kind in zip(row, kinds, strict=True)
        )
        for row in table.rows
    )
    body = "\n".join(f"<tr>{cells}</tr>" for cells in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _head(title: str, kind: str, sortable: bool) -> str:
    text = f'<button type="button">{escape(title)}</button>' if sortable else escape(title)
    return f'<th scope="col"{_class(kind)}>{text}</th>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
