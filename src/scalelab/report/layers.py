"""Metrics of single layers over training, as means over the replicates.

S evaluations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

CURVES = ("max_vio", "router_entropy", "dropped")
"""What is measured of a layer's router at every evaluation."""


def layer_of(name: str) -> tuple[str, int] | None:
    """`max_vio_3` -> max_vio, 3; None for other metrics."""
    kind, _, layer = name.rpartition("_")
    return (kind, int(layer)) if kind in CURVES and layer.isdigit() else None


@dataclass(frozen=True)
class Curve:
    """One quantity of one layer: the mean over the replicates, and their range."""

    layer: int
    steps_S: Sequence[int]
    mean_S: Sequence[float]
    low_S: Sequence[float]
    high_S: Sequence[float]


def curves_of(curves: pl.DataFrame, digests: Sequence[str]) -> dict[str, list[Curve]]:
    """Means over the replicates at each evaluation that all of them had."""
    mine = curves.filter(pl.col("digest").is_in(digests), pl.col("value").is_finite())
    found: dict[str, list[Curve]] = {kind: [] for kind in CURVES}
    for name, (kind, layer) in sorted(_named(mine["name"].unique()), key=lambda named: named[1]):
        value = pl.col("value")
        by_step = (
            mine.filter(pl.col("name") == name)
            .group_by("step")
            .agg(value.mean(), value.min().alias("low"), value.max().alias("high"), pl.len())
        )
        whole = by_step.filter(pl.col("len") == pl.col("len").max()).sort("step")
        found[kind].append(
            Curve(layer, *(whole[column].to_list() for column in ("step", "value", "low", "high")))
        )
    return {kind: lines for kind, lines in found.items() if lines}


def _named(names: Iterable[str]) -> list[tuple[str, tuple[str, int]]]:
    return [(name, found) for name in names if (found := layer_of(name))]
