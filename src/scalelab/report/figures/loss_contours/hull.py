"""Where the runs are: what lies among them is interpolated, the rest extrapolated.

Shapes: N runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.spatial import Delaunay, QhullError

from scalelab.fit.censored import Floats


@dataclass(frozen=True)
class Hull:
    """The convex hull of the runs on log axes; nothing lies within runs on one line."""

    triangles: Delaunay | None

    @classmethod
    def of(cls, x_N: Floats, y_N: Floats) -> "Hull":
        """Around these runs."""
        try:
            return cls(Delaunay(np.log(np.stack([x_N, y_N], axis=1))))
        except (QhullError, ValueError):
            return cls(None)

    def parted(
        self, lines: Sequence[Mapping[str, Any]], within: str, beyond: str
    ) -> list[dict[str, Any]]:
        """Lines (`contours.contour_lines`) cut where they leave the hull: rows with a new `path`
        and the `part` that they are of.
        """
        cut: list[dict[str, Any]] = []
        path = 0
        for _, line in groupby(lines, key=itemgetter("path")):
            points = list(line)
            parts = [within if inside else beyond for inside in self._holds(points)]
            for i, (point, part) in enumerate(zip(points, parts, strict=True)):
                if i and part != parts[i - 1]:  # the pieces meet in a point
                    cut.append({**point, "path": path, "part": parts[i - 1]})
                    path += 1
                cut.append({**point, "path": path, "part": part})
            path += 1
        return cut

    def _holds(self, points: Sequence[Mapping[str, Any]]) -> list[bool]:
        if self.triangles is None:
            return [False] * len(points)
        found = self.triangles.find_simplex(np.log([[point["x"], point["y"]] for point in points]))
        return [bool(simplex >= 0) for simplex in found]
