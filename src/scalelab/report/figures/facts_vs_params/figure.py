"""Fig. 1: how many parameters a fact costs, in the weights and through a tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from scalelab.core.metrics import metric_of
from scalelab.fit.cost import PUBLISHED, Cost
from scalelab.fit.cost_laws import CostLaw
from scalelab.fit.frontier import Answer, Cell, cells
from scalelab.report.charts.colours import modes
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.facts_vs_params.charts import LINES, frontier_chart
from scalelab.report.figures.facts_vs_params.methods import methods
from scalelab.report.figures.facts_vs_params.text import (
    laws_table,
    points_table,
    reading,
    verdict,
)
from scalelab.report.numbers import NONE, rounded, whole
from scalelab.report.recall import SERIES, mean_mark, threshold
from scalelab.report.runs import absent

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
            f"The smallest model whose {metric_of(metric)} reaches {at_least:.4g},"
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
                "curves": [
                    {"recall": recall, "points": [cell.point() for cell in curve]}
                    for recall, curve in curves.items()
                ],
                "fits": rounded(cost.to_json()),
                "answers": _answers(curves),
            },
        )


def _curves(rows: Rows, metric: str, at_least: float) -> Curves:
    found = cells(rows.trials, metric, at_least)
    return {
        recall: curve
        for recall in SERIES
        if (curve := [cell for cell in found if cell.recall == recall])
    }


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


def _law(recall: str, law: CostLaw, curve: Sequence[Cell]) -> list[dict[str, Any]]:
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
