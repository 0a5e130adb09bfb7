"""What became of the experts of each arm: their load at every evaluation, and what the router did.

Shapes: L layers, X experts, S evaluations, R replicates. A load is 1 where the tokens are spread
evenly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import polars as pl

from scalelab.core.metrics import indices_of, stem_of
from scalelab.fit.censored import Floats
from scalelab.report.arms import Arm, Arms
from scalelab.report.figure import Rows
from scalelab.report.layers import Curve, curves_of
from scalelab.spec.reported import EXPERTS

DEAD = 0.1
"""An expert that ends with less of an even load than this counts as dead."""


def is_drawn(name: str) -> bool:
    """Whether a metric is the load of one expert, or tells of the router of one layer."""
    return stem_of(name) in ("load", *EXPERTS)


@dataclass(frozen=True)
class Load:
    """The loads of one trial. Layers are those that have experts, by their index in the model."""

    digest: str
    seed: int
    layers: Sequence[int]
    steps_S: Sequence[int]
    load_LSX: Floats
    """NaN where an evaluation told nothing of an expert."""

    @property
    def experts(self) -> int:
        """In a layer."""
        return self.load_LSX.shape[2]

    @property
    def end_LX(self) -> Floats:
        """At the last evaluation."""
        return self.load_LSX[:, -1]

    @property
    def dead(self) -> list[tuple[int, int]]:
        """Layer and expert of those that end below `DEAD`."""
        return [
            (self.layers[int(at)], int(expert)) for at, expert in np.argwhere(self.end_LX < DEAD)
        ]


@dataclass(frozen=True)
class Experts:
    """The experts of one arm."""

    arm: Arm
    loads: Sequence[Load]
    """Of every replicate, by seed."""
    curves: Mapping[str, Sequence[Curve]]
    """Quantity -> layers."""

    @property
    def shown(self) -> Load:
        """The replicate whose loads are drawn: the first seed's."""
        return self.loads[0]

    @property
    def even(self) -> float:
        """The greatest entropy of a router, in nats."""
        return log(self.shown.experts)

    def ends(self, kind: str) -> dict[int, float]:
        """Layer -> mean over the replicates at the last evaluation."""
        return {curve.layer: curve.mean_S[-1] for curve in self.curves.get(kind, ())}


def experts_of(rows: Rows) -> list[Experts]:
    """The experts of each arm that has some, in the order of the arms."""
    if rows.curves.is_empty():
        return []
    loads = _loads(rows)
    found = []
    for arm in Arms.of(rows, [], states=None).found:
        mine = [loads[digest] for digest in arm.digests if digest in loads]
        if mine:
            found.append(Experts(arm, mine, curves_of(rows.curves, [load.digest for load in mine])))
    return found


def _loads(rows: Rows) -> dict[str, Load]:
    """Digest -> loads."""
    names = [name for name in rows.curves["name"].unique().to_list() if stem_of(name) == "load"]
    places = [(name, *map(int, indices_of(name).values())) for name in names]
    at = pl.DataFrame(places, _AT, orient="row")
    points = rows.curves.join(at, on="name", how="inner")
    seeds = dict(rows.trials.select("digest", "seed").iter_rows())
    return {
        str(key[0]): _load(str(key[0]), seeds[key[0]], part)
        for key, part in points.group_by("digest", maintain_order=True)
    }


_AT = {"name": pl.String, "layer": pl.Int64, "expert": pl.Int64}


def _load(digest: str, seed: int, points: pl.DataFrame) -> Load:
    layers, steps = (
        points["layer"].unique().sort().to_list(),
        points["step"].unique().sort().to_list(),
    )
    experts = int(points["expert"].to_numpy().max()) + 1
    share_LSX = np.full((len(layers), len(steps), experts), np.nan)
    where = (
        np.searchsorted(layers, points["layer"]),
        np.searchsorted(steps, points["step"]),
        points["expert"].to_numpy(),
    )
    share_LSX[where] = points["value"].to_numpy()
    return Load(digest, seed, layers, steps, (share_LSX * experts).astype(np.float64))
