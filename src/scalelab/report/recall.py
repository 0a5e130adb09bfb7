"""Recall modes: what pages call them, which recall counts as passing, and the mark of the smallest
models that pass.
"""

from typing import Any

from scalelab.core.errors import UserError
from scalelab.core.metrics import column_of
from scalelab.core.threshold import Threshold
from scalelab.fit.frontier import Cell
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Rows
from scalelab.report.numbers import NONE, whole
from scalelab.search import stored_threshold

SERIES = {"in_weight": "in-weight", "in_tool": "in-tool"}
"""Recall modes as they are called on the page, in the order of the colours."""

MEAN = "mean"
"""What legends call the line through such marks."""


def threshold(rows: Rows) -> tuple[str, float]:
    """The column that decides and the value that passes, as the experiments' searches say."""
    thresholds = map(stored_threshold, rows.specs.values())
    found = {(one.metric, one.at_least) for one in thresholds if one is not None}
    if len(found) > 1:
        what = "the experiments don't agree on what passes (`search.metric`, `search.at_least`)"
        raise UserError(what, cure="draw one of them with --experiment")
    usual = Threshold()
    metric, at_least = found.pop() if found else (usual.metric, usual.at_least)
    return column_of(metric), at_least


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
    size = f"mean {whole(mean)}"
    if censored:
        others = f", mean of the others {whole(mean)}" if mean is not None else ""
        size = f"above {whole(drawn)} in {censored} of {len(cell.answers)}{others}"
    told = {
        "size": size,
        "spread": f"± {whole(std)}" if std is not None else NONE,
        "replicates": (
            f"{len(cell.answers)}"
            + (f", {censored} pass at no size tried" if censored else ", all pass")
        ),
    }
    digests = [answer.digest for answer in cell.answers]
    return {**place, "open": bool(censored), "line": MEAN, **told, **behind(digests)}
