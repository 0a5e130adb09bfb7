"""Fig. 9: what each arm reaches, how fast it decodes, and what its cache takes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from scalelab.core.metrics import column_of, indices_of, is_metric, label_of, metric_of
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import labelled
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.differences import difference_chart, difference_row, pair_rows
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.quality_vs_speed.charts import cost_chart
from scalelab.report.figures.quality_vs_speed.speeds import (
    CACHE,
    TRAINING,
    places,
    speed_column,
    speed_title,
    usual,
)
from scalelab.report.figures.quality_vs_speed.tables import (
    places_table,
    quality_table,
    ratios_table,
    replicates_table,
    sizes_table,
    speeds_table,
)
from scalelab.report.figures.quality_vs_speed.text import (
    METRIC,
    differing,
    methods,
    multiplying,
    reading,
    verdict,
    warnings,
)
from scalelab.report.judging import Judged
from scalelab.report.numbers import rounded, with_error
from scalelab.report.runs import absent, check_metric

_APART = 0.06
"""Of a cost that several arms share, how far apart they are drawn."""

_TOLD = (
    "metrics.test_loss",
    "metrics.validation_loss",
    "metrics.loss",
    "metrics.perplexity",
    "metrics.bits_per_byte",
    CACHE,
    TRAINING,
)
"""The columns whose numbers are told, beside those of speeds."""


@dataclass(frozen=True)
class QualityVsSpeed(Figure):
    """A metric of quality against decoding speed and against the cache's size, an arm a mark, with
    intervals both ways.
    """

    recipe: int = 3
    metric: str = METRIC
    x: str = "decode"
    """A speed: `decode`, `uncached`, `prefill` (at the longest context and the fewest lanes),
    `training`, or a metric's name.
    """

    @property
    def options(self) -> Mapping[str, str]:
        """The metric and the speed."""
        return {"metric": self.metric, "x": self.x}

    def chosen(self, options: Mapping[str, str]) -> "QualityVsSpeed":
        """With another metric or another speed."""
        return replace(
            self,
            metric=metric_of(options.get("metric", self.metric)),
            x=options.get("x", self.x),
        )

    def lacks(self, rows: Rows) -> str:
        """Nothing, where several arms have finished with the metric, and some of them with a
        decoding speed or the cache's size.

        Raises UserError for a metric that was asked for and that no trial has.
        """
        if self.metric != METRIC:
            check_metric(rows.trials, self.metric)
        column = column_of(self.metric)
        if missing := absent(rows.trials, [column]):
            return missing
        arms = Arms.of(rows, [column])
        if len(arms.found) < 2:
            return f"a single arm has finished with `{column}`"
        if not places(rows.trials) and not any(arm.by_seed(CACHE) for arm in arms.found):
            return f"no finished trial has a decoding speed (`evaluation.decoding`) or `{CACHE}`"
        return ""

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError for a speed that no trial has."""
        column, place = column_of(self.metric), usual(places(rows.trials))
        arms = Arms.of(rows, [column])
        speed = speed_column(rows.trials, self.x if place or self.x != "decode" else "training")
        return Drawing(
            title=self.title,
            verdict=verdict(arms, self.metric, speed, place),
            panels=[
                *self._costs(arms, Palette.of_arms(arms, rows), column, speed),
                *_differences(arms, column),
            ],
            metric=column,
            tables=[
                sizes_table(arms),
                quality_table(arms, self.metric),
                speeds_table(arms, place),
                *ratios_table(arms, place),
                *places_table(arms, places(rows.trials)),
            ],
            reading=reading(arms),
            methods=methods(rows, arms, self.metric, place),
            data={
                "metric": self.metric,
                "speed": metric_of(speed),
                "arms": [_json(arms, arm) for arm in arms.found],
                "judged": {
                    self.metric: _judged(arms, differing, column),
                    metric_of(speed): _judged(arms, multiplying, speed),
                },
            },
            warnings=warnings(rows, arms, self.metric),
        )

    def _costs(self, arms: Arms, palette: Palette, column: str, speed: str) -> list[Panel]:
        """Against the speed, wide; against the bytes of cache, beside the differences."""
        found, trials = [], arms.found[0].trials
        label = labelled(self.metric, trials)
        for name, cost, title, small in (
            ("speed", speed, labelled(speed_title(speed), trials), False),
            ("cache", CACHE, label_of(metric_of(CACHE)), True),
        ):
            marks = [row for arm in arms.found for row in _mark(arm, column, cost)]
            data = {"arms": _beside(marks), "values": [] if small else _values(arms, column, cost)}
            # Where all have the same cache, it says nothing.
            if data["arms"] and not (small and len({mark["x"] for mark in marks}) == 1):
                chart = cost_chart(
                    rounded(data),
                    (title, title.split(",")[0]),
                    label,
                    palette,
                    small=small,
                )
                faint = (
                    "; arms with the same cache stand side by side"
                    if small
                    else ", the replicates faint"
                )
                caption = (
                    f"{label} against {title}: means over the replicates with 95 %"
                    f" intervals{faint}."
                )
                table = replicates_table(arms, self.metric) if name == "speed" else None
                found.append(
                    Panel(
                        name,
                        "Against the size of the cache" if small else "",
                        chart,
                        caption,
                        table,
                    )
                )
        return found


def _mark(arm: Arm, column: str, cost: str) -> list[dict[str, Any]]:
    """The arm's mark; none where it does not know the cost."""
    x, y = arm.mean(cost), arm.mean(column)
    if x is None or y is None:
        return []
    (low, high), (bottom, top) = x.ci95 or (x.value, x.value), y.ci95 or (y.value, y.value)
    place = {
        "x": x.value,
        "low": max(low, x.value / 100),
        "high": high,
        "y": y.value,
        "bottom": bottom,
        "top": top,
    }
    told = {
        "quality": with_error(y),
        "cost": with_error(x),
        "replicates": f"{len(arm.by_seed(column))}",
    }
    return [{"series": arm.name, "setting": arm.setting, **place, **told, **behind(arm.digests)}]


def _beside(marks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Marks of one and the same cost, which has no spread, a little apart, so that their intervals
    can be told.
    """
    count, met, placed = Counter(mark["x"] for mark in marks), Counter[float](), []
    for mark in marks:
        x = mark["x"]
        drawn = x * (1 + _APART * (met[x] - (count[x] - 1) / 2))
        placed.append(
            {**mark, "x": drawn, "low": drawn, "high": drawn}
            if mark["low"] == mark["high"]
            else mark
        )
        met[x] += 1
    return placed


def _values(arms: Arms, column: str, cost: str) -> list[dict[str, Any]]:
    """A mark for each replicate."""
    rows = []
    for arm in arms.found:
        for digest, seed, y, x in (
            arm.trials.select("digest", "seed", column, cost).iter_rows()
            if cost in arm.trials.columns
            else ()
        ):
            if x is not None and isfinite(x):
                told = {"quality": f"{y:.4g}", "cost": f"{x:,.4g}", "replicates": f"seed {seed}"}
                rows.append(
                    {
                        "series": arm.name,
                        "setting": arm.setting,
                        "x": float(x),
                        "y": float(y),
                        **told,
                        **behind([digest]),
                    }
                )
    return rows


def _differences(arms: Arms, column: str) -> list[Panel]:
    """How far each arm is from the first one; none where there is nothing to compare."""
    found = [
        (arm, base, away)
        for arm in arms.found
        if (base := arms.base(arm)) and (away := arms.difference(arm, column))
    ]
    if not found:
        return []
    rows = [difference_row(arm, base, away, column, arm.label) for arm, base, away in found]
    pairs = [row for arm, base, _ in found for row in pair_rows(arm, base, column, arm.label)]
    label = labelled(metric_of(column), arms.found[0].trials)
    first = arms.names[0]
    chart = difference_chart(
        rounded({"differences": rows, "pairs": pairs}),
        f"{label} minus that of {first}",
        [row["arm"] for row in rows],
    )
    caption = (
        f"The difference in {label} to {first}, paired by seed (grey), with its own 95 % interval,"
        " not corrected for the number of arms."
    )
    return [Panel("difference", f"Difference to {first}", chart, caption, None)]


def _json(arms: Arms, arm: Arm) -> dict[str, Any]:
    """Every number that the tables show, and whose they are."""
    columns = [
        name
        for name in arm.trials.columns
        if is_metric(name) and (name in _TOLD or "timed" in indices_of(metric_of(name)))
    ]
    means = {metric_of(name): found.to_json() for name in columns if (found := arm.mean(name))}
    away = {
        metric_of(name): found.to_json()
        for name in columns
        if (found := arms.difference(arm, name))
    }
    params = {
        name: arm.first(name)
        for name in ("params.total", "params.active")
        if arm.first(name) is not None
    }
    whose = {
        "arm": arm.name,
        "setting": arm.setting,
        "axes": dict(arm.values),
        **params,
        "digests": arm.digests,
    }
    return rounded({**whose, "means": means, "differences": away})


def _judged(
    arms: Arms, together: Callable[[Arms, Sequence[Arm], str], list[Judged]], column: str
) -> list[dict[str, Any]]:
    """The p-values of the verdict, setting by setting."""
    return [
        rounded(one.to_json())
        for setting in arms.settings
        for one in together(arms, arms.of_setting(setting), column)
    ]
