"""The charts of fig. 6: small charts side by side, as many in a row as the page has room for."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    log_domain,
    log_ticks,
    log_x,
    log_y,
)
from scalelab.report.charts.marks import (
    HEIGHT,
    THIRD,
    WIDTH,
    Data,
    finished,
    layer,
    told,
)
from scalelab.report.numbers import MINUS

Part = alt.LayerChart | alt.FacetChart
"""One of several charts; altair says either of what is a layered one."""

LOW = 190
"""Width and height of one of several charts."""

RESIDUAL = {
    "size:N": "parameters",
    "length:N": "tokens",
    "loss:Q": "loss",
    "fitted:Q": "fitted",
    "percent:N": "residual",
    "trials:N": "trials",
}
_ZERO = {"style": "reference", "strokeWidth": 1.2}


def side_by_side(charts: Sequence[Part], data: Data) -> dict[str, Any]:
    """One panel of several charts; the page lowers `columns` where there is no room for three."""
    return finished(alt.concat(*charts, columns=3, spacing={"row": 24, "column": 18}), data)


def residuals_chart(
    data: Data, against: Mapping[str, tuple[str, str]], percent: tuple[float, float]
) -> dict[str, Any]:
    """Residuals in per cent against each column, with the median of neighbours.

    Data sets: `runs` (a field for each column, residual, digests, and what the tooltip tells),
    `medians` (column, at, residual). `against` gives the title and the labels of each field's axis.
    """
    y = alt.Y(
        "residual:Q",
        title="residual, %",
        scale=alt.Scale(domain=list(percent), nice=False),
        axis=alt.Axis(tickCount=6, grid=True),
    )

    def one(field: str, title: str, label: str) -> Part:
        x = _small(alt.X, field, title, [row[field] for row in data["runs"]], label)
        parts = [
            alt.Chart(alt.NamedData(name="zero")).mark_rule(**_ZERO).encode(alt.Y("residual:Q")),
            layer("runs", x, y)
            .mark_point(filled=True, size=26, opacity=0.55, clip=True, cursor="pointer")
            .encode(tooltip=told(RESIDUAL, ".4f")),
            layer("medians", y, keep=f"datum.column == '{field}'")
            .mark_line(style="ink", fill=None, strokeWidth=2)
            .encode(alt.X("at:Q")),
        ]
        return alt.layer(*parts).properties(width=THIRD, height=LOW)

    return side_by_side(
        [one(field, *said) for field, said in against.items()],
        {**data, "zero": [{"residual": 0.0}]},
    )


def spread_chart(data: Data) -> dict[str, Any]:
    """How the residuals are spread: a histogram with the normal curve of the same middle half, and
    quantiles against normal ones.

    Data sets: `bins` (low, high, count), `bell` (at, count), `quantiles` (normal, residual,
    digests, and what the tooltip tells), `straight` (normal, residual).
    """
    x = alt.X("low:Q", title="residual, %", axis=alt.Axis(tickCount=7, grid=False)).scale(
        nice=False
    )
    told_bins = [
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("count:Q", title="runs"),
    ]
    bars = (
        layer("bins", x)
        .mark_rect(opacity=0.6, stroke=None)
        .encode(
            alt.X2("high:Q"), alt.Y("count:Q", title="runs"), alt.Y2(datum=0), tooltip=told_bins
        )
    )
    bell = (
        layer("bell")
        .mark_line(style="ink", fill=None, strokeWidth=1.8)
        .encode(alt.X("at:Q"), alt.Y("count:Q"))
    )
    x, y = (
        alt.X("normal:Q", title="quantile of the normal distribution").axis(grid=False),
        alt.Y("residual:Q", title="residual, %"),
    )
    straight = layer("straight", x, y).mark_line(style="reference", strokeDash=[4, 3])
    points = (
        layer("quantiles", x, y)
        .mark_point(filled=True, size=26, opacity=0.7, cursor="pointer")
        .encode(tooltip=told(RESIDUAL, ".4f"))
    )
    size = {"width": THIRD, "height": LOW}
    return side_by_side(
        [alt.layer(bars, bell).properties(**size), alt.layer(straight, points).properties(**size)],
        data,
    )


def pairs_chart(
    data: Data, pairs: Sequence[tuple[str, str, float]], logarithmic: Sequence[str]
) -> dict[str, Any]:
    """Draws of the coefficients, two by two; the estimate is marked.

    Data sets: `draws` and `best`, a field for each coefficient. `pairs` gives two coefficients and
    their correlation.
    """

    def one(first: str, second: str, correlation: float) -> Part:
        x, y = (
            _value(axis, name, name, [row[name] for row in data["draws"]], name in logarithmic)
            for axis, name in ((alt.X, first), (alt.Y, second))
        )
        points = layer("draws", x, y).mark_point(filled=True, size=11, opacity=0.35)
        best = layer("best", x, y).mark_point(
            style="ink", shape="cross", size=110, opacity=1, filled=True
        )
        title = f"{first} and {second}: correlation {correlation:.2f}".replace("-", MINUS)
        return alt.layer(points, best).properties(width=THIRD, height=LOW, title=title)

    return side_by_side([one(*pair) for pair in pairs], data)


def _small(axis: type, field: str, title: str, values: Sequence[float], label: str) -> Any:
    """A log axis of one of several charts: few ticks."""
    domain = log_domain(values)
    scale = alt.Scale(type="log", domain=list(domain), nice=False)
    ticks = alt.Axis(
        values=log_ticks(*domain, most=5),
        labelExpr=label,
        grid=axis is alt.Y,
        labelOverlap="greedy",
        labelSeparation=6,
    )
    return axis(f"{field}:Q", title=title, scale=scale, axis=ticks)


def _value(axis: type, field: str, title: str, values: Sequence[float], logarithmic: bool) -> Any:
    """The axis of a coefficient."""
    if logarithmic:
        return _small(
            axis,
            field,
            title,
            values,
            POWER_LABEL if max(values) > 1e5 or min(values) < 1e-3 else PLAIN_LABEL,
        )
    scale = alt.Scale(domain=[min(values), max(values)], zero=False)
    return axis(
        f"{field}:Q",
        title=title,
        scale=scale,
        axis=alt.Axis(tickCount=4, grid=axis is alt.Y, labelOverlap="greedy"),
    )


def profiles_chart(data: Data, names: Sequence[str], logarithmic: Sequence[str]) -> dict[str, Any]:
    """How much worse the objective gets where one coefficient is held and the others are fitted
    again.

    Data sets: `profiles` (name, at, rise), `limits` (name, low, high, rise): the 95 % interval,
    `best` (name, at).
    """

    def one(name: str) -> Part:
        mine = f"datum.name == '{name}'"
        values = [row["at"] for row in data["profiles"] if row["name"] == name]
        x = _value(alt.X, "at", name, values, name in logarithmic)
        y = alt.Y(
            "rise:Q",
            title="rise",
            axis=alt.Axis(tickCount=5),
            scale=alt.Scale(domain=[0, 3], nice=False),
        )
        parts = [
            layer("limits", keep=mine)
            .mark_rect(style="ink", stroke=None, opacity=0.09)
            .encode(alt.X("low:Q"), alt.X2("high:Q")),
            layer("limits", keep=mine)
            .mark_rule(style="reference", strokeDash=[4, 3])
            .encode(alt.Y("rise:Q")),
            layer("profiles", x, y, keep=mine).mark_line(strokeWidth=2, clip=True),
            layer("best", alt.X("at:Q"), keep=mine).mark_rule(style="reference", strokeWidth=1.2),
        ]
        return alt.layer(*parts).properties(width=THIRD, height=LOW)

    return side_by_side([one(name) for name in names], data)


def starts_chart(data: Data, height: int = 280) -> dict[str, Any]:
    """Every start's objective above the best one's, in order.

    Data sets: `starts` (share, above, told), `line` (above): what counts as the best.
    """
    y = log_y(
        "above:Q",
        "objective above the best, relative",
        log_domain([row["above"] for row in [*data["starts"], *data["line"]]]),
        POWER_LABEL,
    )
    x = alt.X("share:Q", title="starts, best first", axis=alt.Axis(format="%", grid=False)).scale(
        domain=[0, 1]
    )
    points = (
        layer("starts", x, y)
        .mark_point(filled=True, size=22, opacity=0.7)
        .encode(tooltip=[alt.Tooltip("told:N", title="objective")])
    )
    line = layer("line").mark_rule(style="reference", strokeDash=[4, 3]).encode(alt.Y("above:Q"))
    return finished(alt.layer(line, points).properties(width=WIDTH, height=height), data)


def influence_chart(data: Data, names: Sequence[str], order: Sequence[str]) -> dict[str, Any]:
    """What leaving one run out moves, in standard errors, for the runs that move most.

    Data set: `moves` (run, name, moved, value, digests, trials). `order` gives the runs from top to
    bottom.
    """
    y = alt.Y(
        "run:N",
        title=None,
        sort=list(order),
        axis=alt.Axis(grid=True, labelLimit=260, ticks=False, domain=False),
    )
    x = alt.X("moved:Q", title="shift in standard errors, when left out", axis=alt.Axis(grid=False))
    colour = alt.Color("name:N", legend=alt.Legend(orient="top", title=None)).scale(
        domain=list(names)
    )
    shape = alt.Shape("name:N", title=None).scale(domain=list(names))
    said = {
        "run:N": "left out",
        "name:N": "coefficient",
        "value:N": "becomes",
        "trials:N": "trials",
    }
    points = (
        layer("moves", x, y, colour, shape)
        .mark_point(filled=True, size=75, opacity=0.9, cursor="pointer")
        .encode(tooltip=told(said))
    )
    zero = alt.Chart(alt.NamedData(name="zero")).mark_rule(**_ZERO).encode(alt.X("moved:Q"))
    return finished(
        alt.layer(zero, points).properties(width=WIDTH, height=24 * len(order)),
        {**data, "zero": [{"moved": 0.0}]},
    )


def dropped_chart(data: Data, names: Sequence[str]) -> dict[str, Any]:
    """What leaving the k runs of the highest loss out moves, in standard errors.

    Data set: `drops` (k, name, moved, value).
    """
    x = alt.X(
        "k:Q", title="runs of the highest loss left out", axis=alt.Axis(tickMinStep=1, grid=False)
    ).scale(nice=False)
    y = alt.Y("moved:Q", title="shift in standard errors")
    colour = alt.Color("name:N", legend=alt.Legend(orient="top", title=None)).scale(
        domain=list(names)
    )
    shape = alt.Shape("name:N", title=None).scale(domain=list(names))
    said = told({"k:Q": "left out", "name:N": "coefficient", "value:N": "becomes"})
    line = layer("drops", x, y, colour).mark_line(strokeWidth=1.8)
    points = (
        layer("drops", x, y, colour, shape)
        .mark_point(filled=True, size=55, opacity=1)
        .encode(tooltip=said)
    )
    zero = alt.Chart(alt.NamedData(name="zero")).mark_rule(**_ZERO).encode(alt.Y("moved:Q"))
    return finished(
        alt.layer(zero, line, points).properties(width=WIDTH, height=300),
        {**data, "zero": [{"moved": 0.0}]},
    )


def holdout_chart(data: Data, window: tuple[float, float]) -> dict[str, Any]:
    """Predicted against actual, for the runs that the law was fitted to and those that it was not.

    Data sets: `runs` (actual, predicted, low, high, part, digests, and what the tooltip tells),
    `equal` (actual, predicted).
    """
    x, y = (
        log_x("actual:Q", "actual", window, PLAIN_LABEL, grid=True),
        log_y("predicted:Q", "predicted", window, PLAIN_LABEL),
    )
    legend = alt.Legend(orient="top", title=None)
    parts = sorted({row["part"] for row in data["runs"]}, reverse=True)
    colour, shape = (
        alt.Color("part:N", legend=legend).scale(domain=parts),
        alt.Shape("part:N", title=None).scale(domain=parts),
    )
    said = {
        "size:N": "parameters",
        "length:N": "tokens",
        "actual:Q": "actual",
        "predicted:Q": "predicted",
        "percent:N": "error",
        "trials:N": "trials",
    }
    marks = [
        layer("equal", x, y).mark_line(style="reference", strokeDash=[4, 3], clip=True),
        layer("runs", x, colour, keep="datum.high > datum.low")
        .mark_rule(clip=True, opacity=0.8)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        layer("runs", x, y, colour, shape)
        .mark_point(filled=True, size=48, opacity=0.8, cursor="pointer")
        .encode(tooltip=told(said, ".4f")),
    ]
    return finished(alt.layer(*marks).properties(width=WIDTH, height=HEIGHT), data)
