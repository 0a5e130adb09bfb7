"""Places for labels of contour lines where they cover nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scalelab.report.charts.contours import Row, label_places

_TRIED = (0.2, 0.16, 0.12, 0.24, 0.08, 0.28, 0.05, 0.32, 0.5, 0.7, 0.85)
"""Shares of a line's length at which a label may stand, the best first."""
_WIDE, _TALL = 0.03, 0.022
"""Half a label's width and height, as shares of the chart's sides."""


def clear_labels(
    lines: Sequence[Row],
    marks: Iterable[tuple[float, float]],
    window: tuple[tuple[float, float], ...],
) -> list[dict[str, Any]]:
    """One place for each line that is long enough: the first tried that lies on no mark and no
    other label, else the first.

    Marks are (x, y); `window` holds the ends of both log axes.
    """
    low_2, size_2 = (
        np.log([ends[0] for ends in window]),
        np.log([ends[1] / ends[0] for ends in window]),
    )
    taken = [(np.log(mark) - low_2) / size_2 for mark in marks]
    tried = [{place["path"]: place for place in label_places(lines, at)} for at in _TRIED]
    chosen = []
    for path, first in tried[0].items():
        places = [at[path] for at in tried if path in at]
        place = next(
            (place for place in places if _is_clear(_in(place, low_2, size_2), taken)), first
        )
        taken.append(_in(place, low_2, size_2))
        chosen.append(place)
    return chosen


def _in(place: Row, low_2: np.ndarray, size_2: np.ndarray) -> np.ndarray:
    return (np.log([place["x"], place["y"]]) - low_2) / size_2


def _is_clear(place_2: np.ndarray, taken: Sequence[np.ndarray]) -> bool:
    inside = bool(((place_2 > (_WIDE, _TALL)) & (place_2 < (1 - _WIDE, 1 - _TALL))).all())
    if not taken:
        return inside
    away_M2 = np.abs(np.array(taken) - place_2)
    return inside and not ((away_M2[:, 0] < _WIDE) & (away_M2[:, 1] < _TALL)).any()
