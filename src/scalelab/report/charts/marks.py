"""Charts as plain specs, and their parts: layers of named data sets, tooltips, labels."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import altair as alt

from scalelab.core.canon import SHORT
from scalelab.report.charts.themes import VEGA_LITE

Data = Mapping[str, Sequence[Mapping[str, Any]]]

WIDTH, HEIGHT = 760, 460
HALF, THIRD = 380, 246
"""Widths of charts that stand two or three in a row."""

_SHOWN = 6
"""Digests in a tooltip; the page names more on a click, and the table of runs has all."""


def finished(chart: alt.TopLevelMixin | Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The spec of a chart with its named data sets inside, without a theme; the same chart gives
    the same spec.
    """
    spec = dict(chart) if isinstance(chart, Mapping) else chart.to_dict()
    spec.pop("config", None)
    spec["$schema"] = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.split('.')[0]}.json"
    return {**spec, "datasets": {name: list(rows) for name, rows in data.items()}}


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
