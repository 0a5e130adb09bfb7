"""What fig. 2 says: its verdict, its tables, its warnings, and how to read it."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import polars as pl

from scalelab.core.metrics import label_of
from scalelab.fit.frontier import Cell
from scalelab.fit.plane import Place, columns, crossing, field
from scalelab.fit.warned import Warned
from scalelab.report.figure import Rows, Table
from scalelab.report.figures.recall_map.charts import LEVELS
from scalelab.report.numbers import NONE, short, whole
from scalelab.report.recall import SERIES
from scalelab.report.runs import free, state_counts

Planes = Mapping[tuple[str, str], Sequence[Place]]
Needed = Mapping[tuple[str, int], Mapping[float, Cell]]

_TITLES = {
    ("recall", "in_weight"): "In the weights",
    ("recall", "in_tool"): "Through a tool",
    ("recall_unseen", "in_weight"): "People never trained on, in the weights",
    ("recall_unseen", "in_tool"): "People never trained on, through a tool",
    ("recall_permuted", "in_tool"): "Values exchanged in the database",
}
_HOW = {"in_weight": "answered from the weights", "in_tool": "answered through a database"}
_NO_RULE = "they know facts, and have no rule"
_WHERE = {"in_weight": "in the weights", "in_tool": "through a tool"}
_TRACED = (
    "Contour lines are traced on the grid of facts and sizes (contourpy), linear in the logarithms"
    " of both; a size that a column misses is filled in between its neighbours."
)
_JOINED = (
    "The columns don't share a grid of sizes. Contour lines join the sizes at which neighbouring"
    " columns last rise through the level, each between two sizes that were tried, linear in the"
    " logarithm of the size."
)
_WHY = {
    "recall": "",
    "recall_unseen": (
        " A model that has learned a rule answers for people whom it never saw; one that has"
        " learned facts does not."
    ),
    "recall_permuted": (
        " A model that reads its tool's answer follows the exchange; one that knows by heart does"
        " not."
    ),
}
_RULE, _FACTS = 0.5, 0.1
"""Recall of people never trained on from which on a model has a rule, and up to which
it has facts.
"""


def captions(key: tuple[str, str], crossed: bool) -> tuple[str, str]:
    """Title and caption of a plane; `crossed`: whether it has a contour line."""
    metric, recall = key
    levels = ", ".join(f"{level:g}" for level in LEVELS)
    lines = (
        f"with contour lines at {levels}"
        if crossed
        else "where no column of sizes rises through a contour line"
    )
    return (
        _TITLES[key],
        (
            f"{label_of(metric).capitalize()}, {_HOW[recall]}, over facts and parameters,"
            f" {lines}.{_WHY[metric]}"
        ),
    )


def verdict(planes: Planes, needed: Needed) -> list[str]:
    """What the figure shows, in a few sentences."""
    said = [
        _reach(recall, planes["recall", recall])
        for recall in SERIES
        if ("recall", recall) in planes
    ]
    said += [_rule_or_facts(planes)] if any(metric != "recall" for metric, _ in planes) else []
    return said + [_dependence(key, by_share) for key, by_share in needed.items()]


def _reach(recall: str, found: Sequence[Place]) -> str:
    """Where half and nearly all is recalled, at the most facts for which both can be said."""
    for column in reversed(columns(found)):
        half, most = crossing(column, 0.5), crossing(column, 0.95)
        if half and most:
            how = "the weights recall" if recall == "in_weight" else "a model with the tool recalls"
            return (
                f"Of {column[0].facts:,} facts, {how} half at about {short(half)} parameters and 95"
                f" % at about {short(most)}."
            )
    return (
        f"At no number of facts do the sizes tried {_WHERE[recall]} reach from below one half to"
        " above 95 %."
    )


def _rule_or_facts(planes: Planes) -> str:
    """Of models that recall 95 % of what they were trained on: how much of what they were not."""
    shares = {
        key: found for key in planes if key[0] != "recall" and (found := _of_able(planes, *key))
    }
    if not shares:
        return (
            "No model recalls 95 % of what it was trained on, so that nothing can be said of rules."
        )
    unseen = {
        recall: by_facts
        for (metric, recall), by_facts in shares.items()
        if metric == "recall_unseen"
    }
    strangers = " and ".join(_share(by_facts, recall) for recall, by_facts in unseen.items())
    said = [f"{strangers} of the facts about people never trained on"] if unseen else []
    said += [
        f"{_share(found)} of values exchanged in the database"
        for (metric, _), found in shares.items()
        if metric != "recall_unseen"
    ]
    most = max((max(by_facts.values()) for by_facts in unseen.values()), default=0.0)
    have_rule = any(_turn(by_facts) is not None for by_facts in unseen.values())
    conclusion = (
        "they have a rule from there on"
        if have_rule
        else _NO_RULE
        if most < _FACTS
        else "they have a rule in part"
    )
    return f"Models that recall 95 % of their own facts recall {', and '.join(said)}: {conclusion}."


def _share(by_facts: Mapping[int, float], recall: str = "") -> str:
    where, turn = f" {_WHERE[recall]}" if recall else "", _turn(by_facts)
    if turn is None:
        return f"at most {100 * max(by_facts.values()):.0f} %{where}"
    return (
        f"up to {100 * max(by_facts.values()):.0f} %{where} (at least half from {turn:,} facts on)"
    )


def _turn(by_facts: Mapping[int, float]) -> int | None:
    """The number of facts from which on at least half is recalled."""
    below = [facts for facts, share in by_facts.items() if share < _RULE]
    return min((facts for facts in by_facts if facts > max(below, default=0)), default=None)


def _of_able(planes: Planes, metric: str, recall: str) -> dict[int, float]:
    """Means over the trials of places with a recall of 95 %, by facts."""
    able = {
        digest
        for place in planes["recall", recall]
        if place.mean >= 0.95
        for digest in place.digests
    }
    found: dict[int, list[float]] = {}
    for place in planes[metric, recall]:
        values = [
            value
            for value, digest in zip(place.values, place.digests, strict=True)
            if digest in able
        ]
        if values:
            found.setdefault(place.facts, []).extend(values)
    return {facts: fmean(values) for facts, values in found.items()}


def _dependence(key: tuple[str, int], by_share: Mapping[float, Cell]) -> str:
    (low, first), *_, (high, last) = by_share.items()
    sizes = " to ".join(
        f"more than {short(cell.largest_tried)}"
        if cell.censored
        else short(cell.point()["params_mean"])
        for cell in (first, last)
    )
    return (
        f"From a dependence of {low:g} to {high:g}, {key[1]:,} facts {_WHERE[key[0]]} need from"
        f" {sizes} parameters."
    )


def places_table(found: Sequence[Place], about: str) -> Table:
    """Every place of a plane in numbers."""
    rows = [
        [
            f"{place.facts:,}",
            whole(place.params),
            f"{place.mean:.4g}",
            str(len(place.values)),
            str(len(place.stopped)),
            " ".join(place.digests),
        ]
        for place in found
    ]
    return Table(
        "The numbers",
        ("facts", "parameters", about, "trials", "stopped early", "digest"),
        rows,
        frozenset(range(5)),
    )


def dependence_table(needed: Needed) -> Table:
    """Every cell in numbers."""
    columns = ("recall", "facts", "dependence", "mean size", "std", "replicates", "censored")
    rows = []
    for (recall, facts), by_share in needed.items():
        for share, cell in by_share.items():
            point, censored = cell.point(), str(cell.censored)
            if cell.censored:
                censored += f" (above {whole(cell.largest_tried)})"
            mean, std = whole(point["params_mean"]) or NONE, whole(point["params_std"])
            place = [SERIES[recall], f"{facts:,}", f"{share:g}"]
            rows.append([*place, mean, std, str(point["replicates"]), censored])
    return Table("The numbers", columns, rows, frozenset(range(1, len(columns))))


def warnings(trials: pl.DataFrame, planes: Planes) -> list[Warned]:
    """What a reader must know before believing the figure."""
    stopped = [
        value
        for (metric, _), found in planes.items()
        if metric == "recall"
        for place in found
        for value in place.stopped
    ]
    others = ", ".join(
        free(trials, ["task.people", "task.recall", "task.dependence", "params.total"])
    )
    said = []
    if stopped and min(stopped) < max(LEVELS):
        text = (
            f"{len(stopped):,} of these trials stopped early, some at a recall of"
            f" {min(stopped):.3g}; more training might have raised it. Contour lines above that are"
            " dashed: the line is at the drawn size or below it."
        )
        said.append(Warned("stopped_used", text))
    if others:
        text = (
            f"Among these trials {others} varies too, and a place is the mean over all of them;"
            " draw one value with --filter."
        )
        said.append(Warned("others_vary", text))
    return said


def reading(planes: Planes, needed: Needed) -> list[str]:
    """How to read the charts."""
    said = []
    if planes:
        said += [
            (
                "A square is a size that was run on a number of facts; its colour is the mean over"
                " the trials there. Both axes are logarithmic, and all planes have the same ones."
            ),
            (
                "A contour line joins places of equal recall, between sizes that were tried and"
                " never beyond: it ends where the next number of facts was not tried at sizes small"
                " or large enough. A search for the frontier runs only the sizes that it needs."
            ),
        ]
    if needed:
        said.append(
            "In the last chart a filled mark is the mean of the smallest size that passes, with a"
            " bar of one standard deviation; an open one with an arrow is censored: some replicate"
            " passes at no size tried."
        )
    return [
        *said,
        (
            "Point at a mark to see its trials; click it to find them among the runs below;"
            " `scalelab show DIGEST` tells all of one."
        ),
    ]


def methods(rows: Rows, planes: Planes, needed: Needed, at_least: float) -> list[str]:
    """Which trials count, and how lines are drawn."""
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    said = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    said.append(
        f"Trials by state: {states}. Done and stopped trials count with their last metrics; the"
        " others have none. Sizes are total parameters."
    )
    if planes:
        said += [
            (
                "recall: share of all questions about the people trained on whose answer is exact."
                " recall_unseen: the same for up to 256 people never trained on. recall_permuted:"
                " the same for the people trained on, with their values exchanged in the database."
            ),
            (
                f"{_TRACED if all(map(field, planes.values())) else _JOINED} Replicates of a search"
                " have tried different sizes: a mean is over those that tried this one."
            ),
        ]
    if needed:
        said.append(
            "Parameters needed: for each replicate the smallest size tried whose recall is at"
            f" least {at_least:.4g}; means and standard deviations (n-1) over replicates. The"
            " dependence is the share of the facts that the family name decides."
        )
    if _several_dependences(rows.trials) and planes:
        said.append("The planes are those of the least dependence.")
    return said


def _several_dependences(trials: pl.DataFrame) -> bool:
    return (
        "task.dependence" in trials.columns
        and trials["task.dependence"].drop_nulls().n_unique() > 1
    )
