"""Fig. 8: which shape of one parameter budget learns most facts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from scalelab.core.metrics import column_of, is_lower_better, metric_of
from scalelab.fit.allocation import DRAWS, SIZES, Ranking, is_one_budget, rank, shape_axes
from scalelab.fit.warned import Warned
from scalelab.report.averages import averages, labelled
from scalelab.report.figure import Drawing, Figure, Panel, Rows, Table
from scalelab.report.figures.allocation.charts import (
    FORMS,
    NAMES,
    best_chart,
    best_rows,
    heat_chart,
    named,
    shape_rows,
)
from scalelab.report.numbers import NONE, PLUS_MINUS, rounded, short, whole
from scalelab.report.runs import absent, arm_names, check_metric, state_counts, varying
from scalelab.spec.reported import MAIN

NEEDED = ("digest", "state", "seed", "params.total")


@dataclass(frozen=True)
class Allocation(Figure):
    """A heat map of the shapes of one budget, and the best of them with intervals over
    replicates.
    """

    recipe: int = 2
    metric: str = ""
    """What shapes are ranked by; the main metric of a task where it is empty."""

    @property
    def options(self) -> Mapping[str, str]:
        """The metric."""
        return {"metric": self.metric}

    def chosen(self, options: Mapping[str, str]) -> "Allocation":
        """With another metric."""
        super().chosen({name: value for name, value in options.items() if name != "metric"})
        return replace(self, metric=metric_of(options.get("metric", self.metric)))

    def lacks(self, rows: Rows) -> str:
        """Nothing, where several shapes of one budget have finished, and are no arms with names
        (fig. 9 is for these).
        """
        if missing := absent(rows.trials, NEEDED):
            return missing
        if len(arm_names(rows.trials, rows.specs)) > 1:
            return "the arms have names, and figure 9 compares them"
        column = self._column(rows)
        known = _finished(rows.trials, column)
        if known.is_empty():
            return f"no finished trial has `{column}`"
        if not is_one_budget(known):
            low, high = known["params.total"].min(), known["params.total"].max()
            return f"the sizes, {low:,} to {high:,} parameters, are not those of one budget"
        if not _axes(rows, known):
            return f"no two shapes ({', '.join(f'`{path}`' for path in SIZES)}) have finished"
        return ""

    def _column(self, rows: Rows) -> str:
        """Raises UserError for a metric that is asked for and that no trial has."""
        if self.metric:
            check_metric(rows.trials, self.metric)
        usual = sorted(MAIN, key=is_lower_better)
        known = [name for name in usual if column_of(name) in rows.trials.columns]
        return column_of(self.metric or (known or usual)[0])

    def draw(self, rows: Rows) -> Drawing:
        """The drawing."""
        column = self._column(rows)
        metric, known = metric_of(column), _finished(rows.trials, column)
        axes = _axes(rows, known)
        solved = [
            path
            for path in SIZES
            if path in known.columns
            and path not in axes
            and known[path].drop_nulls().n_unique() > 1
        ]
        # The hidden width says what the ratio says, and a width that is an axis needs no second
        # telling.
        solved = [
            path
            for path in solved
            if path not in ("model.ffn.ratio", "model.head_width", "model.kv_heads")
        ]
        ranking = rank(known, column, axes, less=is_lower_better(metric))
        heat = heat_chart({"shapes": shape_rows(ranking, solved)}, ranking)
        label = labelled(metric, known)
        best = best_chart(best_rows(ranking, solved), label)
        table = _shapes_table(ranking, solved, label)
        told_apart = (
            "; a frame marks shapes that are not told from the best"
            if ranking.noise is not None
            else ""
        )
        return Drawing(
            title=self.title,
            verdict=_verdict(ranking, solved, label),
            panels=[
                Panel(
                    "shapes",
                    "",
                    heat,
                    f"Mean {label} of each shape of one budget{told_apart}.",
                    table,
                ),
                Panel("best", "The best shapes", best, f"Mean {label} {_BEST}", None),
            ],
            metric=column,
            tables=_effects_tables(ranking),
            reading=_READING,
            methods=_methods(rows, known, ranking, axes),
            data={"allocation": rounded(ranking.to_json())},
            warnings=_warnings(known, ranking, axes),
        )


_BEST = (
    "with its 95 % t interval, the replicates behind it in grey, and at the right the probability"
    " that the shape is the best one, by the bootstrap over replicates."
)
_READING = [
    (
        "Every cell has the same number of parameters: what one size takes, another gives. The"
        " number in a cell is the mean over the replicates; below it stands the size that was"
        " solved for the budget."
    ),
    (
        "The best of many shapes is partly lucky: its own mean is more likely too high than too"
        " low. A framed shape may be as good."
    ),
    (
        "Point at a mark to see its trials; click it to find them among the runs below; `scalelab"
        " show DIGEST` tells all of one."
    ),
]


def _finished(trials: pl.DataFrame, column: str) -> pl.DataFrame:
    if column not in trials.columns:
        return trials.clear()
    return trials.filter(
        pl.col("state").is_in(["done", "stopped"]),
        pl.col(column).is_finite(),
        pl.col("params.total").is_not_null(),
    )


def _axes(rows: Rows, known: pl.DataFrame) -> list[str]:
    return shape_axes(
        known, {path for spec in rows.specs.values() for path in spec.get("axes") or {}}
    )


def _verdict(ranking: Ranking, solved: list[str], label: str) -> list[str]:
    best, worst = ranking.shapes[0], ranking.shapes[-1]
    half = ranking.half(best)
    about = f"{PLUS_MINUS}{half:.2g}" if half is not None else ""
    sizes = sorted(shape.params for shape in ranking.shapes)
    name, other = named(best, [*ranking.axes, *solved]), named(worst, [*ranking.axes, *solved])
    mean = f"{best.mean:{FORMS.get(ranking.metric, '.4g')}}{about}"
    said = [
        f"Of {len(ranking.shapes)} shapes with {short(sizes[0])} to {short(sizes[-1])} parameters,"
        f" {_ends(ranking, name, other, mean, label)}"
    ]
    if ranking.noise is not None:
        rivals = len(ranking.rivals()) - 1
        others = (
            "every other shape is"
            if not rivals
            else "one other shape is not"
            if rivals == 1
            else f"{rivals} others are not"
        )
        said.append(
            f"It is the best one with a probability of {ranking.best[0]:.2f}; {others} told from it"
            " at the 5 % level, corrected for all pairs."
        )
    effects = ranking.effects()
    if effects is not None:
        shares = ", ".join(
            f"{NAMES[axis]} {100 * share:.0f} %"
            for axis, share in sorted(effects.axes.items(), key=lambda item: -item[1])
        )
        said.append(
            f"Of all variance, {shares}; how they go together {100 * effects.together:.0f} %,"
            f" replicates {100 * effects.replicates:.0f} %."
        )
    return said


def _ends(ranking: Ranking, name: str, other: str, best: str, label: str) -> str:
    """The best shape and the worst one, in the words of the metric."""
    worst, metric = ranking.shapes[-1].mean, metric_of(ranking.metric)
    if metric == "recall":
        return f"{name} recalls most: {best}. The least, {worst:.2f}, is recalled by {other}."
    first, last = ("lowest", "highest") if is_lower_better(metric) else ("highest", "lowest")
    has = f"{name} has the {first} {label}: {best}"
    return f"{has}. The {last}, {worst:.4g}, is that of {other}."


def _shapes_table(ranking: Ranking, solved: list[str], label: str) -> Table:
    paths = [*ranking.axes, *solved]
    columns = (
        *(NAMES[path] for path in paths),
        "parameters",
        label,
        "95 % interval",
        "std",
        "replicates",
        "best with probability",
    )
    rows = []
    for shape, chance in zip(ranking.shapes, ranking.best, strict=True):
        interval, std = ranking.interval(shape), shape.std
        told = [
            f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else NONE,
            f"{std:.3g}" if std is not None else NONE,
        ]
        sizes = [f"{shape.sizes[path]:g}" if path in shape.sizes else "" for path in paths]
        rows.append(
            [
                *sizes,
                whole(shape.params),
                f"{shape.mean:.3f}",
                *told,
                str(len(shape.measured)),
                f"{chance:.3f}",
            ]
        )
    return Table("The shapes, the best first", columns, rows, frozenset(range(len(columns))))


def _effects_tables(ranking: Ranking) -> list[Table]:
    effects, p_equal = ranking.effects(), ranking.p_equal
    if effects is None:
        return []
    shares = {
        **{NAMES[axis]: share for axis, share in effects.axes.items()},
        "how they go together": effects.together,
    }
    rows = [
        [name, f"{100 * share:.1f} %"]
        for name, share in {**shares, "replicates": effects.replicates}.items()
    ]
    note = (
        "If shape made no difference, an F as large as here would come up with probability"
        f" {p_equal:.2g}."
        if p_equal is not None
        else ""
    )
    return [Table("Where the variance comes from", ("source", "share"), rows, frozenset({1}), note)]


def _methods(rows: Rows, known: pl.DataFrame, ranking: Ranking, axes: list[str]) -> list[str]:
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    sizes = sorted(set(known["params.total"].to_list()))
    spread = (sizes[-1] - sizes[0]) / sizes[0]
    metric = metric_of(ranking.metric)
    if metric == "recall":
        metric += ": the share of all questions about the people trained on whose answer is exact"
    said = [
        *asked,
        *averages(known),
        f"Trials by state: {states}. Done and stopped trials count with their last {metric}.",
        (
            f"One budget: {whole(sizes[0])} to {whole(sizes[-1])} parameters, embedding and head"
            f" included ({100 * spread:.1f} % apart). Axes:"
            f" {', '.join(NAMES[axis] for axis in axes)}; other sizes follow from them and the"
            " budget. All shapes train by the same recipe; another learning rate, or longer"
            " training, may favour another shape."
        ),
    ]
    if ranking.noise is not None:
        said.append(
            "Intervals are Student's t over the replicates, with one standard deviation of a"
            f" replicate for all shapes ({ranking.noise:.2g}, pooled, {ranking.freedom} degrees of"
            " freedom): few replicates say little of their own spread. Shapes near the best or"
            " worst that can be spread less than that. A shape is told from the best where a"
            " two-sided t test of their difference says so at 5 %, corrected for all pairs of"
            " shapes by Holm's step-down procedure (1979), since which is the best is read off the"
            " same data; the intervals are not corrected."
        )
        said.append(
            f"Probability of being best: {DRAWS:,} bootstrap draws of every shape's replicates, by"
            " their deviations from the shape's mean, which are drawn from those of all shapes."
        )
    return said


def _warnings(known: pl.DataFrame, ranking: Ranking, axes: list[str]) -> list[Warned]:
    found = []
    others = [path for path in varying(known, SIZES) if path not in SIZES]
    if others:
        text = (
            f"Among these trials {', '.join(others)} varies too, and a shape is the mean over all"
            " of them; draw one value with --filter."
        )
        found.append(Warned("others_vary", text))
    fewest = min(len(shape.measured) for shape in ranking.shapes)
    if fewest < 3:
        found.append(
            Warned(
                "few_replicates",
                f"Some shape has {fewest} replicate{'s' if fewest > 1 else ''}: intervals need"
                " three.",
            )
        )
    if ranking.p_equal is not None and ranking.p_equal > 0.05:
        found.append(
            Warned("not_told_apart", "Shapes differ no more than replicates of one shape do.")
        )
    edges = _edges(ranking, axes)
    if edges:
        text = (
            f"The best shape has {' and '.join(edges)} of those tried: a better one may lie beyond."
        )
        found.append(Warned("best_at_edge", text))
    return found


def _edges(ranking: Ranking, axes: list[str]) -> list[str]:
    """Where the best shape stands at the end of an axis that could go on; no model has fewer than
    one layer or head.
    """
    best, said = ranking.shapes[0], []
    for axis in axes:
        levels = sorted({shape.sizes[axis] for shape in ranking.shapes})
        if len(levels) > 1 and best.sizes[axis] == levels[-1]:
            said.append(f"the largest {NAMES[axis]}")
        elif len(levels) > 1 and best.sizes[axis] == levels[0] != 1:
            said.append(f"the smallest {NAMES[axis]}")
    return said
