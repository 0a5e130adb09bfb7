"""What the routers of each arm did, read from the final metrics, the curves and the notes of its
trials.

S steps, E layers of the pool. Layers are numbered from 1, and named: identity layers stand behind
the others as `id`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.core.metrics import column_of, indices_of, metrics_in, stem_of
from scalelab.families.family import LayerPool
from scalelab.fit.censored import Floats
from scalelab.fit.estimate import Estimate
from scalelab.report.arms import Arm, Arms
from scalelab.report.figure import Rows
from scalelab.report.figures.routes.arms import pool_of
from scalelab.report.layers import Curve, curves_of

NOTE = "routes"
"""The note with an excerpt; see `evaluate.excerpt`."""


def is_drawn(name: str) -> bool:
    """Whether a metric's curve is drawn: the entropy of the router at one step."""
    return stem_of(name) == "router_entropy"


@dataclass(frozen=True)
class Routed:
    """One arm with a router over layers, in one setting.

    The drawn trial is that of the first seed: layers of others are other layers.
    """

    arm: Arm
    pool: LayerPool
    entropy: Sequence[Curve]
    """Over training, one for each step, from 0."""
    excerpt: dict[str, Any] | None
    """Of the first seed that left one."""

    @property
    def names(self) -> list[str]:
        """Of the pool's layers."""
        return [named(number, self.pool) for number in range(1, self.pool.size + 1)]

    @property
    def digest(self) -> str:
        """Of the drawn trial."""
        return self.arm.digests[0]

    @property
    def seed(self) -> int:
        """Of the drawn trial."""
        return int(self.arm.trials["seed"][0])

    @property
    def chosen_SE(self) -> Floats:
        """Shares of the tokens of each step, in the drawn trial; NaN at a step that none of them
        reached.
        """
        found_SE = self._table("route", self.pool.steps)
        return np.where(found_SE.sum(1, keepdims=True) == 0, np.nan, found_SE)

    @property
    def moved_EE(self) -> Floats:
        """Shares of all passages from a layer to the next, in the drawn trial."""
        return self._table("transition", self.pool.size)

    def orders(self) -> dict[int, list[str]]:
        """Seed -> the most used layer of each step."""
        columns = [column_of(f"order_{step}") for step in range(1, self.pool.steps + 1)]
        if not set(columns) <= set(self.arm.trials.columns):
            return {}
        rows = self.arm.trials.select("seed", *columns).drop_nulls().iter_rows()
        return {seed: [named(int(layer), self.pool) for layer in layers] for seed, *layers in rows}

    def by_chance(self) -> float:
        """The share of the original order that even choices would keep: `order_kept` of a router
        that knows nothing.
        """
        steps = range(1, min(self.pool.steps, self.pool.layers) + 1)
        if choices := self.pool.choices:
            shares = [(step in choices[step - 1]) / len(choices[step - 1]) for step in steps]
            return float(np.mean(shares))
        return 1 / self.pool.size

    def by_step(self, name: str) -> list[tuple[int, Estimate]]:
        """Means of a metric with a number behind its name, over the replicates, where
        it is known.
        """
        found = [
            (step, self.arm.mean(column_of(f"{name}_{step}")))
            for step in range(1, self.pool.steps + 1)
        ]
        return [(step, mean) for step, mean in found if mean is not None]

    def by_kind(self) -> list[tuple[str, Estimate]]:
        """The share of identity layers among the choices of each kind of token, the
        greatest first.
        """
        found = [
            (indices_of(name)["kind"], mean)
            for name in metrics_in(self.arm.trials.columns)
            if stem_of(name) == "identity_kind" and (mean := self.arm.mean(column_of(name)))
        ]
        return sorted(found, key=lambda pair: (-pair[1].value, pair[0]))

    def _table(self, name: str, rows: int) -> Floats:
        """A table of metrics NAME_ROW_COLUMN; NaN where the trial does not tell."""
        (trial,) = self.arm.trials.head(1).iter_rows(named=True)
        shape, pool = (rows, self.pool.size), range(1, self.pool.size + 1)
        values = [
            trial.get(column_of(f"{name}_{row}_{column}"))
            for row in range(1, rows + 1)
            for column in pool
        ]
        return np.array(
            [np.nan if value is None else value for value in values], np.float64
        ).reshape(shape)


def named(number: int, pool: LayerPool) -> str:
    """`3` for the third layer; `id`, or `id 1` and so on, for identity layers."""
    if number <= pool.layers:
        return f"{number}"
    return "id" if pool.identity == 1 else f"id {number - pool.layers}"


def routed_of(rows: Rows, arms: Arms) -> list[Routed]:
    """The arms whose routes are known, in the order of the arms."""
    return [
        Routed(arm, pool, _entropies(rows, arm), _excerpt(rows, arm))
        for arm in arms.found
        if (pool := pool_of(arm)) and arm.by_seed("metrics.order_kept")
    ]


def _entropies(rows: Rows, arm: Arm) -> Sequence[Curve]:
    return (
        []
        if rows.curves.is_empty()
        else curves_of(rows.curves, arm.digests).get("router_entropy", [])
    )


def _excerpt(rows: Rows, arm: Arm) -> dict[str, Any] | None:
    texts = (rows.notes.get(digest, {}).get(NOTE) for digest in arm.digests)
    return next((json.loads(text) for text in texts if text), None)


def settings_of(
    found: Sequence[Routed], keep: Callable[[Routed], bool] = lambda one: True
) -> dict[str, list[Routed]]:
    """Setting -> its arms that are kept, in their order."""
    kept: dict[str, list[Routed]] = {}
    for one in filter(keep, found):
        kept.setdefault(one.arm.setting, []).append(one)
    return kept
