"""Three ways to the best size and length of each compute, for one experiment: envelope (1), isoFLOP
profiles (2), fitted law (3).

Shape letters: N runs, X amounts of compute, B draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalelab.fit.censored import Floats
from scalelab.fit.columns import usual_target
from scalelab.fit.compute import FLOPS
from scalelab.fit.envelope import Envelope, envelope
from scalelab.fit.isoflop import SIZES, Budget, IsoFlop, groups_of, isoflop
from scalelab.fit.laws import find
from scalelab.fit.powerline import PowerLine
from scalelab.report.figure import Rows
from scalelab.report.fits.data import (
    DEFAULT,
    Fitted,
    can_fit,
    fitted,
    is_surface,
    measured,
    of,
    several_tasks,
    unmeasured,
)

WIDE = 1.5
"""A profile whose largest size is less than this times its smallest is no profile."""
CURVES = ("validation_loss", "loss")
"""Losses that are measured along the training."""
HELD_OUT = ("metrics.validation_loss", "metrics.test_loss")
_TRACED = 60

Pair = tuple[Floats, Floats]


@dataclass(frozen=True)
class Approach:
    """One way: parameters and tokens [X] at given compute, and [B, X] in its draws."""

    kind: str
    at: Callable[[Floats], Pair]
    draws_at: Callable[[Floats], Pair]


@dataclass(frozen=True)
class Approaches:
    """The runs of one experiment, and what each way says of them."""

    experiment: str
    params_N: Floats
    tokens_N: Floats
    flops_N: Floats
    loss_N: Floats
    digests: tuple[str, ...]
    isoflop: IsoFlop
    envelope: Envelope | None
    fitted: Fitted | None
    target: str = "metrics.loss"
    """The column of the losses."""

    @classmethod
    def of(cls, rows: Rows, experiment: str, target: str | None = None) -> "Approaches":
        """From the rows of one experiment. The target is that of the law, where none is named."""
        frame = of(rows, experiment)
        law = (
            fitted(rows, experiment, is_surface, target)
            if can_fit(rows, experiment, is_surface, target)
            else None
        )
        column = law.fit.law.target if law else target or usual_target(frame, find(DEFAULT).target)
        read = measured(frame, column)
        assert read is not None, "rows with parameters, tokens, FLOPs and a loss"
        params_N, tokens_N, flops_N = (read.columns[symbol] for symbol in ("N", "D", "C"))
        traced = curves(rows, frame, column)
        return cls(
            experiment,
            params_N,
            tokens_N,
            flops_N,
            read.y_N,
            read.digests,
            isoflop(params_N, tokens_N, flops_N, read.y_N),
            None if traced.is_empty() else envelope(traced),
            law,
            column,
        )

    @property
    def per(self) -> float:
        """FLOPs per parameter and token, the median over the runs: 6 where the table's FLOPs are 6
        N D.
        """
        return float(np.median(self.flops_N / (self.params_N * self.tokens_N)))

    @property
    def largest(self) -> float:
        """Compute of the largest run."""
        return float(self.flops_N.max())

    def flops_X(self, further: float, places: int) -> Floats:
        """From the least budget to the largest run, and on to `further` times that."""
        first = min(
            [budget.flops for budget in self.isoflop.budgets] or [float(self.flops_N.min())]
        )
        beyond_X = np.geomspace(self.largest, self.largest * further, places // 3)[1:]
        return np.concatenate([np.geomspace(first, self.largest, places), beyond_X])

    @property
    def approaches(self) -> list[Approach]:
        """Those that these runs allow, in the order of their numbers."""
        found = []
        if (
            self.envelope is not None
            and self.envelope.params is not None
            and self.envelope.tokens is not None
        ):
            found.append(_powers("envelope", self.envelope.params, self.envelope.tokens))
        if self.isoflop.params is not None and self.isoflop.tokens is not None:
            found.append(_powers("isoflop", self.isoflop.params, self.isoflop.tokens))
        if self.fitted is not None:
            found.append(
                Approach(
                    "law",
                    lambda flops_X: self._best(flops_X)[0],
                    lambda flops_X: self._best(flops_X)[1],
                )
            )
        return found

    def _best(self, flops_X: Floats) -> tuple[Pair, Pair]:
        """The law's best splits; its compute is 6 N D, the table's `per` N D."""
        assert self.fitted is not None
        params_X, params_BX = self.fitted.best_params(flops_X * (FLOPS / self.per))
        return (params_X, flops_X / (self.per * params_X)), (
            params_BX,
            flops_X / (self.per * params_BX),
        )

    def slice(self, budget: Budget, params_X: Floats) -> Floats:
        """[X] the fitted law at these sizes and the budget's compute; NaN without a law."""
        if self.fitted is None:
            return np.full(params_X.size, np.nan)
        params, tokens = self.fitted.axes
        return self.fitted.fit.predict(
            {params: params_X, tokens: budget.flops / (self.per * params_X)}
        )

    def traced(
        self, take: Callable[[Floats, Floats], Floats]
    ) -> Iterator[tuple[float, float, str]]:
        """FLOPs, value and trial at some places of the envelope."""
        if self.envelope is None or not self.envelope.digests:
            return
        value_X = take(self.envelope.params_X, self.envelope.tokens_X)
        for place in np.unique(np.linspace(0, value_X.size - 1, _TRACED).round().astype(int)):
            yield (
                float(self.envelope.flops_X[place]),
                float(value_X[place]),
                self.envelope.digests[place],
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = {
            "experiment": self.experiment,
            "flops_per_param_and_token": self.per,
        }
        plain["budgets"] = [budget.to_json() for budget in self.isoflop.budgets]
        for name, found in (("isoflop", self.isoflop), ("envelope", self.envelope)):
            if found is not None and found.params is not None and found.tokens is not None:
                plain[name] = {"params": found.params.to_json(), "tokens": found.tokens.to_json()}
        return plain | ({"law": self.fitted.fit.to_json()} if self.fitted else {})


def _powers(kind: str, params: PowerLine, tokens: PowerLine) -> Approach:
    return Approach(
        kind,
        lambda flops_X: (params.at(flops_X), tokens.at(flops_X)),
        lambda flops_X: (params.draws_at(flops_X), tokens.draws_at(flops_X)),
    )


def can_draw(rows: Rows, experiment: str, target: str | None = None) -> bool:
    """Whether there is one task, with a profile of sizes that differ or training curves of several
    sizes.
    """
    return not undrawn(rows, experiment, target)


def undrawn(rows: Rows, experiment: str, target: str | None = None) -> str:
    """Why one of `names` can't be drawn; empty where it can."""
    frame = of(rows, experiment)
    column = target or usual_target(frame, find(DEFAULT).target)
    if reason := unmeasured(frame, column) or several_tasks(frame):
        return reason
    read = measured(frame, column)
    assert read is not None, "rows that can be read"
    groups = [read.columns["N"][index] for index in groups_of(read.columns["C"])]
    traced = curves(rows, frame, column)
    sizes = traced["params"].to_numpy() if not traced.is_empty() else np.empty(0)
    if _is_wide(sizes) or any(
        _is_wide(size_R) and np.unique(size_R).size >= SIZES for size_R in groups
    ):
        return ""
    return (
        f"no compute has been spent on {SIZES} sizes of which the largest is {WIDE:g} times the"
        " smallest, and no such sizes have training curves"
    )


def _is_wide(size_R: Floats) -> bool:
    return bool(size_R.size and size_R.max() > WIDE * size_R.min())


def curves(rows: Rows, frame: pl.DataFrame, target: str) -> pl.DataFrame:
    """`digest`, `params`, `tokens`, `flops`, `loss` along every run's training, as `fit.envelope`
    takes them; empty without curves.

    The loss on held-out text where that is the target, as far as it was measured on the way.
    """
    read = measured(frame, target)
    if rows.curves.is_empty() or read is None:
        return pl.DataFrame()
    whole = pl.DataFrame(
        {
            "digest": read.digests,
            "params": read.columns["N"],
            "tokens": read.columns["D"],
            "flops": read.columns["C"],
        }
    )
    whole = whole.with_columns(pl.col("digest").cast(pl.String)).unique(
        "digest", maintain_order=True
    )
    known = rows.curves["name"].unique().to_list()
    name = next(
        (
            name
            for name in CURVES
            if name in known and (name != "validation_loss" or target in HELD_OUT)
        ),
        "loss",
    )
    points = rows.curves.filter(pl.col("name") == name).join(whole, on="digest")
    share = pl.col("step") / pl.col("step").max().over("digest")
    return points.select(
        "digest",
        "params",
        tokens=pl.col("tokens") * share,
        flops=pl.col("flops") * share,
        loss=pl.col("value"),
    )
