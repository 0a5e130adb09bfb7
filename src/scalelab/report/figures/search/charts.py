"""The charts of fig. 12: history, front, importances, slices, parallel coordinates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from scalelab.optimize.result import SearchResult, SearchTrial
from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    SIZE_LABEL,
    log_domain,
    log_x,
    log_y,
)
from scalelab.report.charts.marks import (
    WIDTH,
    behind,
    finished,
    layer,
    told,
)
from scalelab.report.numbers import rounded, value

_COLUMNS, _SLICE = 3, 200
_WIDE = 20.0
"""An axis is logarithmic where its values spread over more than this factor."""
_FROM_BEST = 0.9
"""Share of the trials that an axis of an objective shows: a few that diverged would flatten all
others.
"""


def history_chart(found: SearchResult) -> dict[str, Any]:
    """The first objective of every trial in the order of asking, the best so far as a line; pruned
    trials open.
    """
    shown = [one for one in found.tried if one.values[0] == one.values[0]]
    low, high = _window(found, 0)
    rows = [
        _mark(found, one)
        | {"kind": "pruned" if one.pruned else "complete", "objective": min(one.values[0], high)}
        for one in shown
    ]
    x = alt.X(
        "number:Q",
        title="trial",
        scale=alt.Scale(nice=False, domain=[0, len(found.tried) + 1]),
        axis=alt.Axis(grid=False, tickMinStep=1),
    )
    y = _objective(found, 0, (low, high))
    points = layer("trials", x, y, tooltip=_tooltip(found))
    parts = [
        layer("best", x, y).mark_line(interpolate="step-after", strokeWidth=2),
        points.transform_filter("datum.kind === 'pruned'").mark_point(
            style="open", size=40, cursor="pointer", filled=False, opacity=0.8
        ),
        points.transform_filter("datum.kind !== 'pruned'").mark_point(
            filled=True, size=48, opacity=0.9, cursor="pointer"
        ),
    ]
    return finished(
        alt.layer(*parts).properties(width=WIDTH, height=320),
        {"trials": rounded(rows), "best": rounded(_best_so_far(found))},
    )


def _best_so_far(found: SearchResult) -> list[dict[str, Any]]:
    rows, best = list[dict[str, Any]](), None
    for one in found.complete:
        if best is None or found.loss(one)[0] < found.loss(best)[0]:
            best = one
            rows.append({"number": one.number, "objective": one.values[0]})
    return (
        [*rows, {"number": len(found.tried), "objective": best.values[0]}]
        if best is not None
        else rows
    )


def front_chart(found: SearchResult) -> dict[str, Any]:
    """Two objectives against each other; the front joined."""
    rows = [
        _mark(found, one) | {"x": one.values[1], "y": one.values[0], "front": one in found.front}
        for one in found.complete
    ]
    ends = [row["x"] for row in rows]
    wide = min(ends) > 0 and max(ends) > 4 * min(ends)
    x = (
        log_x("x:Q", found.labels[1], log_domain(ends))
        if wide
        else _linear(alt.X, "x:Q", found.labels[1], ends)
    )
    y = _linear(alt.Y, "y:Q", found.labels[0], [row["y"] for row in rows])
    points, line = layer("trials", x, y, tooltip=_tooltip(found)), layer("front", x, y)
    parts = [
        line.mark_line(
            interpolate="step-after" if found.lower[1] else "step-before", strokeWidth=1.5
        ),
        points.transform_filter("!datum.front").mark_point(
            style="reference", filled=True, opacity=0.5, size=36, cursor="pointer"
        ),
        points.transform_filter("datum.front").mark_point(
            filled=True, size=80, opacity=1, cursor="pointer"
        ),
    ]
    front = sorted(
        ({"x": one.values[1], "y": one.values[0]} for one in found.front), key=lambda row: row["x"]
    )
    return finished(
        alt.layer(*parts).properties(width=WIDTH, height=360),
        {"trials": rounded(rows), "front": rounded(front)},
    )


def importance_chart(found: SearchResult) -> dict[str, Any]:
    """A bar for each searched path."""
    rows = [{"path": path, "share": share} for path, share in found.importances.items()]
    order = [row["path"] for row in rows]
    y = alt.Y(
        "path:N", title=None, sort=order, axis=alt.Axis(labelLimit=230, domain=False, ticks=False)
    )
    x = alt.X("share:Q", title="share of the importance", axis=alt.Axis(format=".0%", tickCount=4))
    bars = layer(
        "importances", x, y, tooltip=told({"path:N": "path", "share:Q": "share"}, ".1%")
    ).mark_bar(height={"band": 0.6})
    return finished(
        bars.properties(width=WIDTH - 250, height=max(80, 26 * len(rows))),
        {"importances": rounded(rows)},
    )


def slice_chart(found: SearchResult, paths: Sequence[str]) -> dict[str, Any]:
    """The first objective against each searched path, of the trials that it applies to; later
    trials stand out.
    """
    low, high = _window(found, 0)
    rows = [
        _mark(found, one)
        | {"path": path, "at": one.setting[path], "objective": min(one.values[0], high)}
        for one in found.complete
        for path in paths
        if path in one.setting
    ]
    charts = [
        _slice(found, path, [row for row in rows if row["path"] == path], (low, high))
        for path in paths
    ]
    chart = alt.concat(*charts, columns=_COLUMNS, spacing={"row": 24, "column": 22}).resolve_scale(
        color="shared"
    )
    return finished(chart, {"slices": rounded(rows)})


def _slice(
    found: SearchResult, path: str, rows: Sequence[Mapping[str, Any]], window: tuple[float, float]
) -> alt.Chart:
    at, title = [row["at"] for row in rows], path.removeprefix("model.")
    if all(isinstance(one, int | float) for one in at):
        label = SIZE_LABEL if max(at) >= 1000 else PLAIN_LABEL
        x = (
            log_x("at:Q", title, log_domain(at), label)
            if path in found.on_log
            else _linear(alt.X, "at:Q", title, at)
        )
    else:
        x = alt.X("at:N", title=title, axis=alt.Axis(labelAngle=-35, labelLimit=120))
    colour = alt.Color("number:Q", title="trial", legend=None, scale=alt.Scale(range="ramp"))
    y = _objective(found, 0, window)
    chart = layer(
        "slices",
        x,
        y,
        colour,
        keep=f"datum.path === {path!r}",
        tooltip=_tooltip(found, {"at:N": title}),
    )
    return chart.mark_point(filled=True, size=32, opacity=0.85, cursor="pointer").properties(
        width=_SLICE, height=150
    )


def parallel_chart(found: SearchResult, paths: Sequence[str]) -> dict[str, Any]:
    """A line for each complete trial over the searched paths, by colour the first objective; a path
    goes from its least to its greatest.
    """
    places = {
        path: _places(
            [one.setting[path] for one in found.complete if path in one.setting],
            path in found.on_log,
        )
        for path in paths
    }
    low, high = _window(found, 0)
    # Where a path does not apply its place is null, and the line breaks.
    rows = [
        _mark(found, one)
        | {
            "path": path,
            "place": places[path].get(one.setting.get(path)),
            "said": _said(one.setting.get(path)),
            "objective": min(one.values[0], high),
        }
        for one in found.ranked[::-1]
        for path in paths
    ]
    ends = [{"path": path, **end} for path in paths for end in _ends(places[path])]
    x = alt.X(
        "path:N",
        title=None,
        sort=list(paths),
        scale=alt.Scale(padding=0.2),
        axis=alt.Axis(labelAngle=-28, labelLimit=180, grid=True, domain=False),
    )
    y = alt.Y(
        "place:Q",
        title="least to greatest",
        scale=alt.Scale(domain=[-0.1, 1.1], nice=False),
        axis=alt.Axis(labels=False, ticks=False, grid=False),
    )
    legend = alt.Legend(title=found.labels[0], orient="top", gradientLength=220, format="~r")
    scale = alt.Scale(range="ramp", domain=[low, high], reverse=not found.lower[0])
    colour = alt.Color("objective:Q", legend=legend, scale=scale)
    lines = layer("lines", x, y, colour, detail="number:Q")
    tooltip = _tooltip(found, {"path:N": "path", "said:N": "value"})
    points = layer(
        "lines", x, y, colour, detail="number:Q", tooltip=tooltip, keep="isValid(datum.place)"
    )
    ends_named = layer("ends", x, y, text="text:N")
    highest = ends_named.transform_filter("datum.place > 0.5").mark_text(
        style="label", baseline="bottom", dy=-5, limit=110
    )
    lowest = ends_named.transform_filter("datum.place <= 0.5").mark_text(
        style="label", baseline="top", dy=5, limit=110
    )
    parts = [
        lines.mark_line(strokeWidth=1.2, opacity=0.55, invalid="break-paths-show-path-domains"),
        points.mark_point(filled=True, size=22, opacity=0.8, cursor="pointer"),
        highest,
        lowest,
    ]
    return finished(
        alt.layer(*parts).properties(width=WIDTH, height=320),
        {"lines": rounded(rows), "ends": ends},
    )


def _ends(places: Mapping[Any, float]) -> list[dict[str, Any]]:
    """What stands at the bottom and at the top of an axis."""
    low, high = min(places, key=lambda at: places[at]), max(places, key=lambda at: places[at])
    return [
        {"place": places[low], "text": _said(low)},
        {"place": places[high], "text": _said(high)},
    ]


def _places(values: Sequence[Any], on_log: bool) -> dict[Any, float]:
    """Value -> place from 0 to 1: numbers on an even or log axis, names in their order."""
    if values and all(isinstance(one, int | float) for one in values):
        low, high = min(values), max(values)
        turn = math.log if on_log else float
        size = turn(high) - turn(low)
        return {one: (turn(one) - turn(low)) / size if size else 0.5 for one in values}
    names = sorted(set(values), key=str)
    return {
        name: index / (len(names) - 1) if len(names) > 1 else 0.5
        for index, name in enumerate(names)
    }


def _mark(found: SearchResult, one: SearchTrial) -> dict[str, Any]:
    values = ", ".join(
        f"{name} {value(number)}" for name, number in zip(found.labels, one.values, strict=True)
    )
    setting = ", ".join(
        f"{path.rpartition('.')[2]} {_said(at)}" for path, at in one.setting.items()
    )
    return {
        "number": one.number,
        "values": values,
        "state": "pruned" if one.pruned else one.state,
        "setting": setting,
        **behind([one.digest]),
    }


def _said(at: Any) -> str:
    return value(at) if isinstance(at, float) else str(at)


def _tooltip(found: SearchResult, more: Mapping[str, str] | None = None) -> list[alt.Tooltip]:
    return told(
        {
            "number:Q": "trial",
            "values:N": "reached",
            **(more or {}),
            "state:N": "state",
            "setting:N": "setting",
            "trials:N": "digest",
        }
    )


def _window(found: SearchResult, at: int) -> tuple[float, float]:
    """From the best value of an objective to one that nearly all complete trials reach, with some
    room.
    """
    values = sorted(one.values[at] for one in found.complete)
    if found.lower[at]:
        low, high = values[0], values[min(len(values) - 1, round(_FROM_BEST * len(values)))]
    else:
        low, high = values[round((1 - _FROM_BEST) * (len(values) - 1))], values[-1]
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _objective(found: SearchResult, at: int, window: tuple[float, float]) -> alt.Y:
    low, high = window
    if low > 0 and high > _WIDE * low:
        return log_y("objective:Q", found.labels[at], window, PLAIN_LABEL)
    scale = alt.Scale(domain=list(window), nice=False, zero=False, clamp=True)
    return alt.Y(
        "objective:Q",
        title=found.labels[at],
        scale=scale,
        axis=alt.Axis(tickCount=5, format="~r"),
    )


def _linear(kind: Any, field: str, title: str, values: Sequence[float]) -> Any:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    label = SIZE_LABEL if high >= 10_000 else PLAIN_LABEL
    whole = all(value == int(value) for value in values)
    axis = alt.Axis(
        tickCount=5, labelExpr=label, grid=kind is alt.Y, tickMinStep=1 if whole else alt.Undefined
    )
    return kind(
        field,
        title=title,
        scale=alt.Scale(domain=[low - room, high + room], nice=False, zero=False),
        axis=axis,
    )
