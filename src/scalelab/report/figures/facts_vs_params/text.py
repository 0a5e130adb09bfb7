"""What fig. 1 says: its verdict, its tables, and how to read it."""

from collections.abc import Callable, Mapping, Sequence

from scalelab.fit.cost import PUBLISHED, UNDECIDED, Cost
from scalelab.fit.cost_laws import CostLaw
from scalelab.fit.frontier import ATTRIBUTES, Cell
from scalelab.report.figure import Table
from scalelab.report.numbers import NONE, TIMES, line, short, span, whole
from scalelab.report.recall import SERIES

Curves = Mapping[str, Sequence[Cell]]

_LINES = {
    "linear": "line",
    "linear_with_origin": "line, the origin a point",
    "linear_relative": "line, noise in proportion to the size",
}


def verdict(curves: Curves, cost: Cost) -> list[str]:
    """What the figure shows, in a few sentences."""
    said = [_in_weight(cost)] if "in_weight" in curves else []
    said += [_in_tool(cost, curves["in_tool"])] if "in_tool" in curves else []
    return said + ([_crossing(cost)] if len(curves) == len(SERIES) else [])


def _in_weight(cost: Cost) -> str:
    if not cost.in_weight:
        return f"In the weights: no law, since {cost.why['in_weight']}."
    law = cost.in_weight["linear"]
    slope, intercept, interval = (
        law.values["slope"],
        law.values["intercept"],
        law.intervals["slope"],
    )
    about = f" (95 % interval {span(interval, '.3g')})" if interval else ""
    fixed = f"{'on top of' if intercept >= 0 else 'less'} a fixed {short(abs(intercept))}"
    return f"In the weights, a fact costs {slope:.3g} parameters{about}, {fixed}."


def _in_tool(cost: Cost, curve: Sequence[Cell]) -> str:
    if not cost.in_tool:
        return f"Through a tool: no law, since {cost.why['in_tool']}."
    law = cost.in_tool[cost.better]
    said = _SAID[law.kind](law, curve)
    return said + (
        "." if cost.margin >= UNDECIDED else "; the data hardly tell a plateau from a logarithm."
    )


def _plateau_said(law: CostLaw, curve: Sequence[Cell]) -> str:
    knee = f"from about {float(format(law.values['knee'], '.2g')):,.0f} facts on"
    start = knee if law.values["knee"] > curve[0].facts else "at every number of facts"
    size = short(law.values["value"])
    return f"Through a tool, {size} parameters are enough {start}{_interval(law, 'value')}"


def _logarithm_said(law: CostLaw, curve: Sequence[Cell]) -> str:
    return (
        f"Through a tool, the size grows by {short(law.values['per_doubling'])} parameters with"
        f" every doubling of the facts{_interval(law, 'per_doubling')}"
    )


_SAID: dict[str, Callable[[CostLaw, Sequence[Cell]], str]] = {
    "plateau": _plateau_said,
    "logarithm": _logarithm_said,
}


def _interval(law: CostLaw, name: str) -> str:
    interval = law.intervals[name]
    return f" (95 % interval {short(interval[0])} to {short(interval[1])})" if interval else ""


def _crossing(cost: Cost) -> str:
    last, first = cost.crossing
    if last is None:
        shared = "share no number of facts at which both have an answer"
        return (
            f"The tool needs the smaller model from {first:,} facts on."
            if first is not None
            else f"The two curves {shared}."
        )
    up_to = f"Up to {last:,} facts the weights need no larger model than the tool"
    return (
        f"{up_to}; from {first:,} on, the tool needs the smaller one."
        if first is not None
        else f"{up_to}; the curves don't cross so far."
    )


def points_table(curves: Curves) -> Table:
    """Every cell in numbers."""
    columns = (
        "recall",
        "people",
        "facts",
        "mean size",
        "mean of those passed",
        "std",
        "parameters per fact",
        "replicates",
        "censored",
    )
    rows = [_point(cell) for curve in curves.values() for cell in curve]
    return Table("The numbers", columns, rows, frozenset(range(1, len(columns))))


def _point(cell: Cell) -> list[str]:
    point = cell.point()
    mean = point["params_mean"]
    each = f"{mean / cell.facts:,.1f}" if mean is not None else ""
    counts = [
        str(point["replicates"]),
        f"{point['censored']} (above {whole(cell.largest_tried)})" if point["censored"] else "0",
    ]
    sizes = [whole(mean), whole(point["params_mean_passed"]), whole(point["params_std"]), each]
    return [
        SERIES[cell.recall],
        f"{cell.facts // ATTRIBUTES:,}",
        f"{cell.facts:,}",
        *sizes,
        *counts,
    ]


def laws_table(cost: Cost) -> Table:
    """Every law in numbers."""
    rows = [
        _line(name, cost.in_weight[key]) for key, name in _LINES.items() if key in cost.in_weight
    ]
    if cost.published_recipe is not None:
        recipe = cost.published_recipe
        formula = line(recipe["slope"], recipe["intercept"])
        rows.append(
            [
                "in-weight",
                "line, the published recipe",
                formula,
                NONE,
                NONE,
                f"{recipe['r2']:.3f}",
                "",
            ]
        )
    rows.append(
        [
            "in-weight",
            "line, as published",
            line(PUBLISHED["slope"], PUBLISHED["intercept"]),
            NONE,
            NONE,
            "",
            "",
        ]
    )
    for name, law in cost.in_tool.items():
        title = f"{name}, the better one" if name == cost.better else name
        rows.append(["in-tool", title, *_CELLS[law.kind](law), *_quality(law)])
    columns = (
        "recall",
        "law",
        "parameters",
        "95 %, slope or value",
        "95 %, intercept",
        "R²",
        "AICc",
    )
    return Table("The fits", columns, rows, frozenset({5, 6}))


def _line(name: str, law: CostLaw) -> list[str]:
    spans = [span(law.intervals["slope"], ".3g"), span(law.intervals["intercept"])]
    return [
        "in-weight",
        name,
        line(law.values["slope"], law.values["intercept"]),
        *spans,
        *_quality(law),
    ]


def _logarithm_cells(law: CostLaw) -> list[str]:
    at_one, rise = law.values["at_one"], law.values["per_doubling"]
    spans = [span(law.intervals["per_doubling"]), span(law.intervals["at_one"])]
    return [f"{whole(at_one)} + {whole(rise)} {TIMES} log₂ facts", *spans]


def _plateau_cells(law: CostLaw) -> list[str]:
    formula = f"{whole(law.values['value'])} from {whole(law.values['knee'])} facts on"
    if rise := law.values["per_doubling"]:
        formula += f", {whole(rise)} less for each halving below"
    return [formula, span(law.intervals["value"]), NONE]


_CELLS: dict[str, Callable[[CostLaw], list[str]]] = {
    "plateau": _plateau_cells,
    "logarithm": _logarithm_cells,
}
"""Kind of law -> its formula, and the intervals of its slope or value and of its intercept."""


def _quality(law: CostLaw) -> list[str]:
    return [
        f"{law.r2:.3f}" if law.r2 == law.r2 else "",
        f"{law.aicc:,.1f}" if law.aicc < float("inf") else "",
    ]


def reading(curves: Curves) -> list[str]:
    """How to read the chart."""
    censored = any(cell.censored for curve in curves.values() for cell in curve)
    open_marks = (
        "An open mark with an arrow is censored: some replicate passes at no size tried. It stands"
        " at the largest size tried; the answer is above."
    )
    return [
        (
            "Both axes are logarithmic. A filled mark is the mean, over the replicates, of the"
            " smallest model that passes, with a bar of one standard deviation each way. The pale"
            " marks are the replicates' own answers, larger where several agree."
        ),
        *([open_marks] if censored else []),
        (
            "A dashed curve is the fitted law with its 95 % band. The dotted line is the published"
            " in-weight line; it belongs to another training recipe (100,000 steps, whatever the"
            " number of facts), so its place matters less than its slope."
        ),
        (
            "Point at a mark to see its trials; click it to find them among the runs below;"
            " `scalelab show DIGEST` tells all of one."
        ),
    ]
