"""What metrics of the arithmetic task are averages of, which their names leave open."""

import polars as pl

from scalelab.tasks import metric_label

_LENGTHS = (
    "In arithmetic, accuracy is the share of the questions of a length that are answered exactly,"
    " as the mean over the lengths that are trained on, whatever the number of questions of each"
    " (10 to 30 of length 1, 500 of the others); accuracy_questions the share of all of these"
    " questions; accuracy_longer the mean over the longer lengths. Losses on questions are means"
    " over the lengths too."
)


def labelled(metric: str, trials: pl.DataFrame) -> str:
    """The name of a metric of these trials, with what it is an average of where that is not
    plain.
    """
    kinds = trials["task.kind"].unique().drop_nulls() if "task.kind" in trials.columns else ()
    return metric_label(metric, kinds)


def averages(trials: pl.DataFrame) -> list[str]:
    """What the metrics of these trials are averages of, for a page's methods."""
    return [_LENGTHS] if _do_sums(trials) else []


def _do_sums(trials: pl.DataFrame) -> bool:
    return "task.kind" in trials.columns and "arithmetic" in trials["task.kind"]
