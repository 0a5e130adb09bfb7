"""Fig. 7: how metrics move while trials train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import POSITIONS, column_of, is_detail, is_speed, metric_of
from scalelab.report.averages import labelled
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.learning_curves.charts import curve_chart
from scalelab.report.figures.learning_curves.data import (
    PLACES,
    X_AXES,
    Series,
    is_log,
    is_single,
    metric_names,
    points,
    series,
)
from scalelab.report.figures.learning_curves.text import (
    caption,
    ends_table,
    methods,
    reading,
    verdict,
    warnings,
)
from scalelab.report.figures.learning_curves.ways import Way
from scalelab.report.numbers import rounded
from scalelab.report.runs import told_apart

_ROWS = 12_000
"""Places of all panels together."""
_FEWEST = 30
"""Places of a series at least."""
_ENDS = 1500
"""Marks of trials' ends in all panels; where there would be more, there are none."""
_FIRST = ("recall", "accuracy", "validation_loss", "loss", "bits_per_param", "bits", "share")
"""Metrics that are drawn before others, and no more of them than `_PANELS`."""
_PANELS = 4


@dataclass(frozen=True)
class LearningCurves(Figure):
    """Any metric against tokens, FLOPs, seconds or steps; replicates as bands."""

    recipe: int = 3
    needs_curves: bool = True
    metric: str = ""
    """The only metric to draw; the main ones where it is empty."""
    x: str = "tokens"

    @property
    def options(self) -> Mapping[str, str]:
        """The metric and the x."""
        return {"metric": self.metric, "x": self.x}

    def chosen(self, options: Mapping[str, str]) -> "LearningCurves":
        """With another metric or another x. Raises UserError for an x that is none."""
        x = options.get("x", self.x).lower()
        if x not in X_AXES:
            raise UserError(
                f"`--x {x}` is nothing that curves are drawn against", cure=nearest(x, list(X_AXES))
            )
        return replace(self, x=x, metric=metric_of(options.get("metric", self.metric)))

    def curves_of(self, names: Sequence[str]) -> list[str]:
        """The chosen metric or the main ones, and the x.

        Raises UserError for a metric without curves.

        What is of one layer or one expert is drawn where it is asked for, and belongs to no main
        ones.
        """
        known = [name for name in names if name not in POSITIONS and not is_speed(name)]
        if self.metric and self.metric not in known:
            raise UserError(
                f"no trial has a curve of `{self.metric}`",
                cure=nearest(self.metric, known) if known else "",
            )
        first = [metric for metric in _FIRST if metric in known]
        others = [metric for metric in known if metric not in first and not is_detail(metric)]
        main = [self.metric] if self.metric else [*first, *others][:_PANELS]
        return main + [name for name in names if name == self.x]

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some trial has been evaluated while it trained."""
        if self._metrics(rows):
            return ""
        imported = "imported" in rows.trials["origin"] if "origin" in rows.trials.columns else False
        return (
            "imported trials have their last values alone, and no curves"
            if imported
            else "no trial has been evaluated yet"
        )

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError for a metric without curves."""
        metrics = self._metrics(rows)
        axes = told_apart(rows.trials, rows.specs)
        way = Way.of(rows, axes)
        found = {
            metric: self._series(points(rows, metric, self.x), way, _ROWS // len(metrics))
            for metric in metrics
        }
        ends = way.members.height * len(metrics) <= _ENDS
        drawn = {metric: lines for metric, (lines, _) in found.items()}
        return Drawing(
            title=self.title,
            verdict=verdict(drawn, self.x, rows),
            panels=[
                self._panel(metric, labelled(metric, rows.trials), lines, way, log, ends)
                for metric, (lines, log) in found.items()
            ],
            metric=column_of(metrics[0]),
            tables=[],
            reading=reading(drawn, way, ends),
            methods=methods(rows, self.x, axes, way),
            data={
                "x": self.x,
                "curves": rounded(
                    [_plain(metric, line) for metric, lines in drawn.items() for line in lines]
                ),
            },
            warnings=warnings(rows),
        )

    def _metrics(self, rows: Rows) -> list[str]:
        known = metric_names(rows.curves)
        if is_single(rows.curves) and not self.metric:
            known = [name for name in known if name in _FIRST] or known
        return [name for name in self.curves_of(known) if name in known] if known else []

    def _series(self, found: pl.DataFrame, way: Way, budget: int) -> tuple[list[Series], bool]:
        log = is_log(found)
        places = min(PLACES, max(_FEWEST, budget // way.count))
        return series(found, way.members, way.axes, places, log, way.middle), log

    def _panel(
        self, metric: str, label: str, lines: Sequence[Series], way: Way, log: bool, ends: bool
    ) -> Panel:
        marks = [row for line in lines for row in _ends(line, way)] if ends else []
        places = [_places(line, way) for line in lines]
        data = rounded(
            {
                "curves": [row for rows in places for row in rows],
                "ends": marks,
                "alone": [] if ends else [rows[0] for rows in places if len(rows) == 1],
            }
        )
        name = metric.replace("_", "-").replace(".", "-")
        chart = curve_chart(data, label, self.x, log, way.colouring)
        return Panel(
            name,
            label,
            chart,
            caption(label, self.x, lines, way),
            ends_table(metric, label, lines, self.x),
        )


def _places(line: Series, way: Way) -> list[dict[str, Any]]:
    columns = zip(line.x_X, line.mean_X, line.low_X, line.high_X, strict=True)
    if way.colouring.axis:
        shared = {"series": line.label, "colour": line.values[way.colouring.axis]}
        return [{**shared, "x": float(x), "value": float(mean)} for x, mean, _, _ in columns]
    return [
        {
            "series": line.label,
            "x": float(x),
            "value": float(mean),
            "low": float(low),
            "high": float(high),
        }
        for x, mean, low, high in columns
    ]


def _ends(line: Series, way: Way) -> list[dict[str, Any]]:
    shared = {"series": line.label} | (
        {"colour": line.values[way.colouring.axis]} if way.colouring.axis else {}
    )
    return [
        {
            **shared,
            "x": end.x,
            "value": end.value,
            "state": end.state,
            "seed": end.seed,
            **behind([end.digest]),
        }
        for end in line.ends
    ]


def _plain(metric: str, line: Series) -> dict[str, Any]:
    shape = {
        "x": line.x_X.tolist(),
        "mean": line.mean_X.tolist(),
        "low": line.low_X.tolist(),
        "high": line.high_X.tolist(),
    }
    return {
        "metric": metric,
        "series": line.label,
        "axes": dict(line.values),
        "replicates": len(line.ends),
        **shape,
    }
