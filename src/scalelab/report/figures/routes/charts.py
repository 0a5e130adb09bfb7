"""The charts of fig. 11: small multiples, a setting a row and an arm a column, of what routers
choose, and curves over the steps.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import altair as alt

from scalelab.report.charts.axes import log_domain, log_x
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import (
    HALF,
    WIDTH,
    behind,
    finished,
    layer,
    told,
)
from scalelab.report.figures.routes.data import Routed
from scalelab.report.numbers import rounded, with_error

COLUMNS = 6
"""Small charts in a row at most."""
_CELL = (10, 34)
"""Least and greatest side of a cell."""

Cells = Mapping[str, Sequence[Routed]]
"""Setting -> arms."""


def choices_chart(found: Cells) -> dict[str, Any]:
    """For each arm the share of the tokens that each step sent to each layer."""
    rows = [
        {"place": place, "layer": name, "step": step, "share": float(share)}
        for place, one in _placed(found)
        for step, share_E in enumerate(one.chosen_SE, 1)
        for name, share in zip(one.names, share_E, strict=True)
        if isfinite(share)
    ]
    return _maps(
        found,
        rows,
        ("step", "layer"),
        lambda one: (list(range(1, one.pool.steps + 1)), one.names),
        1.0,
    )


def transitions_chart(found: Cells) -> dict[str, Any]:
    """For each arm the share of its passages from a layer to the next."""
    rows = [
        {"place": place, "layer": name, "next": after, "share": float(share)}
        for place, one in _placed(found)
        for name, share_E in zip(one.names, one.moved_EE, strict=True)
        for after, share in zip(one.names, share_E, strict=True)
        if isfinite(share)
    ]
    return _maps(
        found,
        rows,
        ("next", "layer"),
        lambda one: (one.names, one.names),
        max((row["share"] for row in rows), default=1.0),
    )


def _placed(found: Cells) -> list[tuple[int, Routed]]:
    """The arms with a number each, by which their rows are told apart."""
    return list(enumerate(one for group in found.values() for one in group))


def _maps(
    found: Cells,
    rows: Sequence[Mapping[str, Any]],
    axes: tuple[str, str],
    ends: Callable[[Routed], tuple[Sequence[Any], Sequence[Any]]],
    most: float,
) -> dict[str, Any]:
    """Heat maps of shares."""
    legend = alt.Legend(
        title="share",
        orient="top",
        direction="horizontal",
        gradientLength=200,
        format=".0%",
        tickCount=4,
    )
    colour = alt.Color("share:Q", legend=legend).scale(
        type="linear", domain=[0, most], range="heatmap"
    )
    across = min(COLUMNS, max(map(len, found.values())))
    widest = max(len(ends(one)[0]) for _, one in _placed(found))
    side = max(_CELL[0], min(_CELL[1], (WIDTH // across - 36) // widest))

    def draw(place: int, one: Routed) -> alt.Chart:
        columns, names = ends(one)
        x = alt.X(
            f"{axes[0]}:O",
            title=axes[0],
            sort=columns,
            axis=alt.Axis(labelAngle=0, domain=False, ticks=False, titlePadding=4),
        )
        y = alt.Y(
            f"{axes[1]}:O",
            title=axes[1],
            sort=names,
            axis=alt.Axis(domain=False, ticks=False, titlePadding=4),
        )
        tooltip = [
            *told({f"{axes[1]}:O": axes[1], f"{axes[0]}:O": axes[0]}),
            alt.Tooltip("share:Q", format=".1%"),
        ]
        chart = layer("shares", x, y, colour, keep=f"datum.place == {place}", tooltip=tooltip)
        # Written once here, and not in every cell: a digest is longer than all else of one.
        whose = chart.transform_calculate(digests=f"['{one.digest}']")
        return whose.mark_rect(cursor="pointer").properties(
            width=side * len(columns), height=side * len(names), title=one.arm.name
        )

    return finished(_multiples(found, draw), {"shares": rounded(rows)})


def entropy_chart(found: Cells) -> dict[str, Any]:
    """For each arm the entropy of its router over training, a line for each step."""
    kept = {
        setting: group
        for setting, arms in found.items()
        if (group := [one for one in arms if one.entropy])
    }
    rows = [
        {
            "place": place,
            "at": curve.layer + 1,
            "step": step,
            "value": mean,
            "range": f"{low:.3g} to {high:.3g}",
        }
        for place, one in _placed(kept)
        for curve in one.entropy
        for step, mean, low, high in zip(
            curve.steps_S, curve.mean_S, curve.low_S, curve.high_S, strict=True
        )
    ]
    width = max(70, WIDTH // min(COLUMNS, max(map(len, kept.values()))) - 66)
    ends = log_domain((row["step"] for row in rows), 0.02)
    top, most = 1.05 * max(row["value"] for row in rows), max(row["at"] for row in rows)
    few, steps = most <= COLUMNS, list(range(1, most + 1))
    stroke: dict[str, Any] = (
        {"symbolType": "stroke", "symbolStrokeWidth": 2, "columns": COLUMNS}
        if few
        else {"format": "d", "tickMinStep": 1}
    )
    scale = (
        alt.Scale(domain=steps) if few else alt.Scale(type="linear", domain=[1, most], range="ramp")
    )
    colour = alt.Color(
        f"at:{'N' if few else 'Q'}",
        title="step of the route",
        legend=alt.Legend(orient="top", **stroke),
        scale=scale,
    )

    def draw(place: int, one: Routed) -> alt.Chart:
        x = log_x("step:Q", "update", ends, "replace(format(datum.value, '~s'), 'k', 'K')")
        y = alt.Y(
            "value:Q",
            title="nats",
            scale=alt.Scale(domain=[0, top], nice=False),
            axis=alt.Axis(tickCount=4, titlePadding=4),
        )
        tooltip = told(
            {
                "at:N": "step of the route",
                "step:Q": "update",
                "value:Q": "mean",
                "range:N": "replicates",
            },
            ".3~f",
        )
        chart = layer(
            "curves", x, y, colour, keep=f"datum.place == {place}", detail="at:N", tooltip=tooltip
        )
        digests = ", ".join(f"'{digest}'" for digest in one.arm.digests)
        whose = chart.transform_calculate(digests=f"[{digests}]")
        return whose.mark_line(
            strokeWidth=1.6, point={"size": 16, "filled": True}, cursor="pointer"
        ).properties(width=width, height=90, title=one.arm.name)

    return finished(_multiples(kept, draw), {"curves": rounded(rows)})


def _multiples(found: Cells, draw: Callable[[int, Routed], alt.Chart]) -> dict[str, Any]:
    """A block for each setting, under its name.

    Put together as plain data: Altair would copy and check every chart at every level.
    """
    places, blocks = iter(_placed(found)), list[dict[str, Any]]()
    for setting, group in found.items():
        cells = [_plain(draw(*next(places))) for _ in group]
        lines = [
            {"hconcat": cells[at : at + COLUMNS], "spacing": 14}
            for at in range(0, len(cells), COLUMNS)
        ]
        title = (
            {"title": {"text": setting, "fontWeight": "bold", "anchor": "start", "offset": 8}}
            if setting
            else {}
        )
        blocks.append({"vconcat": lines, "spacing": 14, **title})
    return {"vconcat": blocks, "spacing": 26, "resolve": {"scale": {"color": "shared"}}}


def _plain(chart: alt.Chart) -> dict[str, Any]:
    spec = chart.to_dict(validate=False)
    return {name: part for name, part in spec.items() if name not in ("config", "$schema")}


def step_rows(found: Sequence[Routed], name: str) -> list[dict[str, Any]]:
    """Places of lines: an arm's mean of a metric at each step, where it is known."""
    return [
        {
            "arm": one.arm.label,
            "name": one.arm.name,
            "setting": one.arm.setting,
            "step": step,
            "value": mean.value,
            "said": with_error(mean),
        }
        | behind(one.arm.digests)
        for one in found
        for step, mean in one.by_step(name)
    ]


def kind_rows(found: Sequence[Routed]) -> list[dict[str, Any]]:
    """Places of marks: the share of identity layers among the choices of each kind of token."""
    return [
        {
            "arm": one.arm.label,
            "name": one.arm.name,
            "setting": one.arm.setting,
            "kind": kind,
            "value": mean.value,
            "said": with_error(mean),
        }
        | behind(one.arm.digests)
        for one in found
        for kind, mean in one.by_kind()
    ]


def step_chart(
    rows: Sequence[dict[str, Any]], title: str, arms: Palette, *, form: str = ".0%"
) -> dict[str, Any]:
    """Lines over the steps, an arm each; from zero up. Data set `places`."""
    top = max(row["value"] for row in rows)
    y = alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(domain=[0, 1.08 * top or 1.0], nice=False),
        axis=alt.Axis(tickCount=5, format=form),
    )
    channels = _arms(rows, arms)
    chart = layer("places", _step(), y, *channels, alt.Detail("arm:N"))
    tooltip = told({"arm:N": "arm", "step:O": "step", "said:N": title, "trials:N": "trials"})
    parts = [
        chart.mark_line(strokeWidth=1.6),
        chart.encode(tooltip=tooltip).mark_point(filled=True, opacity=1, size=60, cursor="pointer"),
    ]
    return finished(alt.layer(*parts).properties(width=HALF, height=240), {"places": rounded(rows)})


def loss_chart(rows: Sequence[dict[str, Any]], title: str, arms: Palette) -> dict[str, Any]:
    """A small chart for each setting: the loss if predicted after each step, an arm a line.

    Data set `places`.
    """
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    tooltip = told({"arm:N": "arm", "step:O": "step", "said:N": title, "trials:N": "trials"})
    charts = []
    for setting in settings:
        values = [row["value"] for row in rows if row["setting"] == setting]
        room = 0.08 * (max(values) - min(values)) or 0.1
        scale = alt.Scale(domain=[min(values) - room, max(values) + room], nice=False, zero=False)
        y = alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
        # Charts of one setting each: their legend has the arms of all of them.
        channels = _arms([{**row, "setting": ""} for row in rows], arms)
        chart = layer("places", _step(), y, *channels, keep=f"datum.setting == {setting!r}")
        parts = [
            chart.mark_line(strokeWidth=1.6),
            chart.encode(tooltip=tooltip).mark_point(
                filled=True, opacity=1, size=50, cursor="pointer"
            ),
        ]
        charts.append(
            alt.layer(*parts).properties(
                width=HALF - 60 if len(settings) > 1 else WIDTH, height=200, title=setting
            )
        )
    return finished(alt.concat(*charts, columns=2, spacing=24), {"places": rounded(rows)})


def kind_chart(rows: Sequence[dict[str, Any]], arms: Palette) -> dict[str, Any]:
    """The share of identity layers by kind of token, an arm a colour. Data set `places`."""
    order = list(dict.fromkeys(row["kind"] for row in sorted(rows, key=lambda row: -row["value"])))
    top = max(row["value"] for row in rows)
    x = alt.X(
        "value:Q",
        title="identity layers",
        scale=alt.Scale(domain=[-0.04 * top, 1.08 * top or 1.0], nice=False),
        axis=alt.Axis(tickCount=5, format=".0%"),
    )
    y = alt.Y("kind:N", title=None, sort=order, axis=alt.Axis(domain=False, ticks=False, grid=True))
    tooltip = told(
        {"arm:N": "arm", "kind:N": "kind", "said:N": "identity layers", "trials:N": "trials"}
    )
    chart = layer("places", x, y, *_arms(rows, arms), tooltip=tooltip).mark_point(
        filled=True, opacity=1, size=70, cursor="pointer"
    )
    return finished(
        chart.properties(width=HALF - 70, height=max(120, 34 * len(order))),
        {"places": rounded(rows)},
    )


def _step() -> alt.X:
    return alt.X(
        "step:O", title="step", axis=alt.Axis(labelAngle=0, domain=False, ticks=False, grid=False)
    )


def _arms(rows: Sequence[Mapping[str, Any]], arms: Palette) -> list[Any]:
    """Channels of arms: a colour for each, and a shape for each; or where arms of one name stand in
    several settings, a shape for each setting.
    """
    names = list(dict.fromkeys(row["name"] for row in rows))
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    shown = Palette(arms.names, names)
    colour = shown.colour("name:N", _legend(shown))
    if len(settings) == 1:
        return [colour, shown.shape("name:N", _legend(shown))]
    by_setting = Palette(settings, settings)
    return [colour, by_setting.shape("setting:N", _legend(by_setting))]


def _legend(shown: Palette) -> alt.Legend | None:
    if len(shown.shown) == 1:
        return None
    columns = max(1, min(4, 56 // (max(map(len, shown.shown)) + 5)))
    return shown.legend(
        orient="top",
        offset=6,
        columns=columns,
        columnPadding=14,
        symbolOpacity=1,
        labelLimit=HALF,
    )
