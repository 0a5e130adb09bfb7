"""Fig. 1: how many parameters a fact costs, in the weights and through a tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from scalelab.core.errors import UserError
from scalelab.core.threshold import Threshold
from scalelab.fit.capacity import PUBLISHED, Law
from scalelab.fit.cost import Cost
from scalelab.fit.frontier import Answer, Cell, cells
from scalelab.report.capacity_methods import methods
from scalelab.report.capacity_words import SERIES, laws_table, points_table, reading, verdict
from scalelab.report.charts import behind
from scalelab.report.colours import modes
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.frontier_chart import LINES, frontier_chart
from scalelab.report.numbers import NONE, rounded, whole
from scalelab.report.runs import absent
from scalelab.search import stored_threshold

NEEDED = ("digest", "state", "seed", "task.people", "task.recall", "params.total")
Curves = dict[str, list[Cell]]
_PLACES = 60


@dataclass(frozen=True)
class FactsVsParams(Figure):
    """Facts against the smallest model that recalls them, for each recall mode."""

    recipe: int = 2

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some trial has finished with the metric that decides."""
        metric, at_least = threshold(rows)
        if missing := absent(rows.trials, (*NEEDED, metric)):
            return missing
        if not _curves(rows, metric, at_least):
            return f"no finished trial has facts and `{metric}` together"
        return ""

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where the experiments don't agree on what passes."""
        metric, at_least = threshold(rows)
        curves = _curves(rows, metric, at_least)
        cost = Cost.of([cell for curve in curves.values() for cell in curve])
        chart = frontier_chart(
            rounded(_chart_data(curves, cost)), modes([SERIES[recall] for recall in curves])
        )
        caption = (
            f"The smallest model whose {metric.removeprefix('metrics.')} reaches {at_least:.4g},"
            " against the number of facts."
        )
        return Drawing(
            title=self.title,
            verdict=verdict(curves, cost),
            panels=[Panel("cost", "", chart, caption, points_table(curves))],
            metric=metric,
            tables=[laws_table(cost)],
            reading=reading(curves),
            methods=methods(rows, metric, at_least, curves, cost),
            data={
                "curves": _points(curves),
                "fits": rounded(cost.to_json()),
                "answers": _answers(curves),
            },
        )


def threshold(rows: Rows) -> tuple[str, float]:
    """The column that decides and the value that passes, as the experiments' searches say."""
    thresholds = map(stored_threshold, rows.specs.values())
    found = {(one.metric, one.at_least) for one in thresholds if one is not None}
    if len(found) > 1:
        what = "the experiments don't agree on what passes (`search.metric`, `search.at_least`)"
        raise UserError(what, cure="draw one of them with --experiment")
    usual = Threshold()
    metric, at_least = found.pop() if found else (usual.metric, usual.at_least)
    return f"metrics.{metric}", at_least


def _curves(rows: Rows, metric: str, at_least: float) -> Curves:
    found = cells(rows.trials, metric, at_least)
    return {
        recall: curve
        for recall in SERIES
        if (curve := [cell for cell in found if cell.recall == recall])
    }


def _points(curves: Curves) -> list[dict[str, Any]]:
    return [
        {"recall": recall, "points": [cell.point() for cell in curve]}
        for recall, curve in curves.items()
    ]


def _answers(curves: Curves) -> list[dict[str, Any]]:
    """Every replicate's answer, with the trial that decides it."""
    found = [
        (cell, answer) for curve in curves.values() for cell in curve for answer in cell.answers
    ]
    return [
        {
            "recall": cell.recall,
            "facts": cell.facts,
            "seed": answer.seed,
            "params": answer.size,
            "passed": answer.passed,
            "digest": answer.digest,
        }
        for cell, answer in found
    ]


def _chart_data(curves: Curves, cost: Cost) -> dict[str, list[dict[str, Any]]]:
    facts = [cell.facts for curve in curves.values() for cell in curve]
    places = np.geomspace(min(facts), max(facts), _PLACES)
    laws = {
        "in_weight": cost.in_weight.get("linear"),
        "in_tool": cost.in_tool.get(cost.better) if cost.in_tool else None,
    }
    return {
        "means": [mean_mark(cell) for curve in curves.values() for cell in curve],
        "answers": [row for curve in curves.values() for cell in curve for row in _sizes(cell)],
        "laws": [
            row
            for recall in curves
            if (law := laws[recall])
            for row in _law(recall, law, curves[recall])
        ],
        "published": [
            {
                "facts": float(at),
                "params": PUBLISHED["slope"] * float(at) + PUBLISHED["intercept"],
                "line": LINES[2],
            }
            for at in places
        ],
    }


def mean_mark(cell: Cell) -> dict[str, Any]:
    """The cell's mark: the mean, or where some replicate is censored, the largest size tried."""
    point = cell.point()
    mean, std, censored = point["params_mean_passed"], point["params_std"], point["censored"]
    drawn = cell.largest_tried if censored else mean
    low, high = (max(1.0, mean - std), mean + std) if std and not censored else (drawn, drawn)
    place = {
        "series": SERIES[cell.recall],
        "facts": cell.facts,
        "params": drawn,
        "low": low,
        "high": high,
    }
    told = {
        "size": _size_told(cell),
        "spread": f"± {whole(std)}" if std is not None else NONE,
        "replicates": (
            f"{len(cell.answers)}"
            + (f", {censored} pass at no size tried" if censored else ", all pass")
        ),
    }
    return {**place, "open": bool(censored), "line": LINES[0], **told, **_trials(cell.answers)}


def _size_told(cell: Cell) -> str:
    mean = whole(cell.point()["params_mean_passed"])
    if not cell.censored:
        return f"mean {mean}"
    others = f", mean of the others {mean}" if mean else ""
    return f"above {whole(cell.largest_tried)} in {cell.censored} of {len(cell.answers)}{others}"


def _sizes(cell: Cell) -> list[dict[str, Any]]:
    """One row for each size at which some replicate passes."""

    def size_of(answer: Answer) -> float:
        return answer.size

    passed = sorted((answer for answer in cell.answers if answer.passed), key=size_of)
    rows = []
    for size, group in groupby(passed, key=size_of):
        answers = list(group)
        place = {
            "series": SERIES[cell.recall],
            "facts": cell.facts,
            "params": size,
            "area": 30 + 22 * len(answers),
        }
        told = {
            "size": whole(size),
            "spread": NONE,
            "replicates": f"{len(answers)} of {len(cell.answers)}",
        }
        rows.append({**place, **told, **_trials(answers)})
    return rows


def _trials(answers: Sequence[Answer]) -> dict[str, Any]:
    """The trials behind a mark."""
    return behind([answer.digest for answer in answers])


def _law(recall: str, law: Law, curve: Sequence[Cell]) -> list[dict[str, Any]]:
    """The law where it is above zero, from the fewest facts to the most."""
    facts_X = np.geomspace(curve[0].facts, curve[-1].facts, _PLACES)
    rows = []
    for facts, params, band in zip(facts_X, law.predict(facts_X), law.band(facts_X), strict=True):
        low, high = band or (params, params)
        if params > 0:
            keyed = {
                "series": SERIES[recall],
                "facts": float(facts),
                "params": float(params),
                "line": LINES[1],
            }
            rows.append({**keyed, "low": max(1.0, float(low)), "high": max(1.0, float(high))})
    return rows
