"""Metrics of single layers over training, as means over the replicates.

S evaluations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from scalelab.core.metrics import indices_of, stem_of
from scalelab.spec.reported import EXPERTS


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
    found: dict[str, list[Curve]] = {kind: [] for kind in EXPERTS}
    names = [name for name in mine["name"].unique() if stem_of(name) in EXPERTS]
    layers = {name: int(indices_of(name)["layer"]) for name in names}
    for name, layer in sorted(layers.items(), key=lambda item: item[1]):
        value = pl.col("value")
        by_step = (
            mine.filter(pl.col("name") == name)
            .group_by("step")
            .agg(value.mean(), value.min().alias("low"), value.max().alias("high"), pl.len())
        )
        whole = by_step.filter(pl.col("len") == pl.col("len").max()).sort("step")
        found[stem_of(name)].append(
            Curve(layer, *(whole[column].to_list() for column in ("step", "value", "low", "high")))
        )
    return {kind: lines for kind, lines in found.items() if lines}
