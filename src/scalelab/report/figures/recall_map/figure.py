"""Fig. 2: what is recalled at which size, whether it is a rule or facts, and what it saves when
facts depend on each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from scalelab.core.metrics import column_of, label_of
from scalelab.fit.frontier import Cell, cells
from scalelab.fit.plane import Place, columns, places
from scalelab.report.charts.colours import Palette, modes
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.recall_map.charts import dependence_chart, plane_chart, plane_data
from scalelab.report.figures.recall_map.text import (
    captions,
    dependence_table,
    methods,
    places_table,
    reading,
    verdict,
    warnings,
)
from scalelab.report.numbers import rounded
from scalelab.report.recall import SERIES, mean_mark, threshold
from scalelab.report.runs import absent

NEEDED = ("digest", "state", "seed", "task.people", "task.recall", "params.total", "metrics.recall")
PLANES = (
    ("recall", "in_weight"),
    ("recall", "in_tool"),
    ("recall_unseen", "in_weight"),
    ("recall_unseen", "in_tool"),
    ("recall_permuted", "in_tool"),
)
"""Metric and recall mode of each plane, in the order of the page."""

Planes = dict[tuple[str, str], list[Place]]
Needed = dict[tuple[str, int], dict[float, Cell]]
"""Recall mode and facts -> dependence -> cell of the frontier."""


@dataclass(frozen=True)
class RecallMap(Figure):
    """Recall over facts and parameters with contour lines, recall of people never trained on, and
    sizes against dependence.
    """

    recipe: int = 2

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some plane has two numbers of facts with two sizes each, or the facts'
        dependence varies.
        """
        if missing := absent(rows.trials, NEEDED):
            return missing
        if not _planes(rows.trials) and not _needed(rows):
            return (
                "no two numbers of facts have finished at two sizes each, and none at two values of"
                " `task.dependence`"
            )
        return ""

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where the experiments don't agree on what passes."""
        planes, needed, at_least = _planes(rows.trials), _needed(rows), threshold(rows)[1]
        panels = [_plane_panel(key, planes) for key in planes]
        panels += [_dependence_panel(needed, at_least)] if needed else []
        return Drawing(
            title=self.title,
            verdict=verdict(planes, needed),
            panels=panels,
            metric="metrics.recall",
            tables=[],
            reading=reading(planes, needed),
            methods=methods(rows, planes, needed, at_least),
            data={
                "planes": [_plane_json(key, found) for key, found in planes.items()],
                "dependence": [
                    {"recall": recall, "dependence": share, **cell.point()}
                    for (recall, _), by_share in needed.items()
                    for share, cell in by_share.items()
                ],
            },
            warnings=warnings(rows.trials, planes),
        )


def _planes(trials: pl.DataFrame) -> Planes:
    """Planes with something between their places; of several dependences the least, which asks the
    most.
    """
    kept = trials.filter(pl.col("task.recall").is_not_null())
    if "task.dependence" in kept.columns and len(kept):
        kept = kept.filter(pl.col("task.dependence") == pl.col("task.dependence").min())
    found: Planes = {}
    for metric, recall in PLANES:
        if column_of(metric) in kept.columns:
            tried = places(kept.filter(pl.col("task.recall") == recall), column_of(metric))
            found |= (
                {(metric, recall): tried}
                if sum(len(column) > 1 for column in columns(tried)) > 1
                else {}
            )
    return found


def _needed(rows: Rows) -> Needed:
    """Frontier cells for each dependence; nothing where there is one dependence only."""
    metric, at_least = threshold(rows)
    if (
        "task.dependence" not in rows.trials.columns
        or rows.trials["task.dependence"].drop_nulls().n_unique() < 2
    ):
        return {}
    found: Needed = {}
    for (share,), part in rows.trials.drop_nulls("task.dependence").group_by(
        "task.dependence", maintain_order=True
    ):
        for cell in cells(part, metric, at_least):
            found.setdefault((cell.recall, cell.facts), {})[float(str(share))] = cell
    several = {
        key: dict(sorted(by_share.items()))
        for key, by_share in sorted(found.items())
        if len(by_share) > 1
    }
    return {
        (recall, facts): several[recall, facts]
        for recall in SERIES
        for mode, facts in several
        if mode == recall
    }


def _plane_panel(key: tuple[str, str], planes: Mapping[tuple[str, str], Sequence[Place]]) -> Panel:
    metric, recall = key
    every = [place for found in planes.values() for place in found]
    sizes, facts = [place.params for place in every], sorted({place.facts for place in every})
    data = plane_data(planes[key], label_of(metric))
    title, caption = captions(key, bool(data["contours"]))
    chart = plane_chart(data, (min(sizes), max(sizes)), facts, tall=metric == "recall")
    return Panel(
        f"{metric}-{recall}".replace("_", "-"),
        title,
        chart,
        caption,
        places_table(planes[key], label_of(metric)),
    )


def _dependence_panel(needed: Needed, at_least: float) -> Panel:
    series = {key: f"{SERIES[key[0]]}, {_facts(key[1])}" for key in needed}
    marks = [
        {
            **mean_mark(cell),
            "series": series[key],
            "mode": SERIES[key[0]],
            "number": _facts(key[1]),
            "dependence": share,
        }
        for key, by_share in needed.items()
        for share, cell in by_share.items()
    ]
    caption = (
        f"The smallest model whose recall reaches {at_least:.4g}, against the share of facts that"
        " follow from the family name."
    )
    recalls = [name for recall, name in SERIES.items() if any(key[0] == recall for key in needed)]
    numbers = [_facts(number) for number in sorted({number for _, number in needed})]
    chart = dependence_chart(rounded({"needed": marks}), modes(recalls), Palette(numbers, numbers))
    return Panel(
        "dependence",
        "Parameters needed, when facts depend on each other",
        chart,
        caption,
        dependence_table(needed),
    )


def _facts(number: int) -> str:
    return f"{number:,} facts"


def _plane_json(key: tuple[str, str], found: Sequence[Place]) -> dict[str, Any]:
    each = [
        {
            "facts": place.facts,
            "params": place.params,
            "mean": place.mean,
            "values": list(place.values),
            "digests": list(place.digests),
        }
        for place in found
    ]
    return {"metric": key[0], "recall": key[1], "places": rounded(each)}
