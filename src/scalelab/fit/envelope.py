"""The envelope of training curves: at each amount of compute, the run with the least loss so far,
and the powers of its N and D.

Approach 1 of Hoffmann et al. 2022 (arXiv 2203.15556), section 3.1: 1,500 log-spaced FLOP bins.
Errors come from a bootstrap over runs.

Shape letters: R runs, X bins, B draws, T points of one curve.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.core.errors import UserError
from scalelab.core.seeds import derive
from scalelab.fit.censored import Floats
from scalelab.fit.powerline import PowerLine, power_line
from scalelab.fit.warned import Warned

BINS = 1500

COLUMNS = ("digest", "params", "tokens", "flops", "loss")

BIAS = (
    "The envelope takes the least of noisy curves at each amount of compute, so that a lucky run"
    " counts for many bins; runs whose learning rate has not come down yet look worse than they"
    " would at their end, which favours models that were nearly done; and the smallest and largest"
    " sizes win at the ends only because no other was run (approach 1's known bias)."
)


@dataclass(frozen=True)
class Envelope:
    """The best run in every bin that at least two sizes reach, and powers of compute
    through them.
    """

    flops_X: Floats
    params_X: Floats
    tokens_X: Floats
    loss_X: Floats
    digests: tuple[str, ...]
    """The best run of every bin."""
    params: PowerLine | None
    tokens: PowerLine | None
    warnings: tuple[Warned, ...]


def envelope(
    curves: pl.DataFrame, *, bins: int = BINS, draws: int = 500, seed: int = 0
) -> Envelope:
    """The envelope of training curves, one row for each point of each run.

    Columns: `digest`, `params` (the same all through a run), and `tokens`, `flops`, `loss` as far
    as they had come. Points without a finite loss or before the first FLOP are left out. Raises
    UserError for a missing column.
    """
    for name in COLUMNS:
        if name not in curves.columns:
            raise UserError(
                f"the curves have no column `{name}`", cure=f"they need {', '.join(COLUMNS)}"
            )
    kept = curves.filter(
        pl.col("loss").is_finite(), pl.col("flops") > 0, pl.col("tokens") > 0
    ).sort("digest", "flops")
    runs = [run for _, run in kept.group_by("digest", maintain_order=True) if run.height > 1]
    if not runs:
        return _empty("no run has a curve of two points with a loss")
    grid_X = np.geomspace(
        min(run["flops"][0] for run in runs), max(run["flops"][-1] for run in runs), bins
    )
    params_R = np.array([float(run["params"][0]) for run in runs])
    loss_RX = np.stack([_on_grid(run, "loss", grid_X) for run in runs])
    used_X = np.flatnonzero(
        [np.unique(params_R[np.isfinite(column)]).size > 1 for column in loss_RX.T]
    )
    if not used_X.size:
        return _empty("no amount of compute is reached by runs of two sizes")
    grid_X, loss_RX = grid_X[used_X], loss_RX[:, used_X]
    tokens_RX = np.stack([np.exp(_on_grid(run, "tokens", grid_X, log=True)) for run in runs])
    best_BX = _best(loss_RX, draws, seed)
    reached_BX = np.isfinite(np.take_along_axis(loss_RX, best_BX, axis=0))
    params_BX = np.where(reached_BX, params_R[best_BX], np.nan)
    tokens_BX = np.where(reached_BX, np.take_along_axis(tokens_RX, best_BX, axis=0), np.nan)
    return Envelope(
        grid_X,
        params_BX[0],
        tokens_BX[0],
        np.take_along_axis(loss_RX, best_BX[:1], axis=0)[0],
        tuple(runs[run]["digest"][0] for run in best_BX[0]),
        power_line(grid_X, params_BX[0], params_BX[1:]),
        power_line(grid_X, tokens_BX[0], tokens_BX[1:]),
        _warnings(params_BX[0]),
    )


def _on_grid(run: pl.DataFrame, name: str, grid_X: Floats, *, log: bool = False) -> Floats:
    """[X] a curve between its points, linear in log FLOPs; infinite outside of them."""
    at_T, value_T = (
        np.log(run["flops"].cast(pl.Float64).to_numpy()),
        run[name].cast(pl.Float64).to_numpy(),
    )
    found_X = np.interp(
        np.log(grid_X), at_T, np.log(value_T) if log else value_T, left=np.inf, right=np.inf
    )
    return np.where(np.log(grid_X) > at_T[-1] + 1e-9, np.inf, found_X)


def _best(loss_RX: Floats, draws: int, seed: int) -> np.ndarray:
    """[1 + B, X] the run with the least loss, first of all runs and then of those that each draw
    holds.
    """
    rng, runs = np.random.default_rng(derive(seed, "envelope")), len(loss_RX)
    best = [loss_RX.argmin(axis=0)]
    for _ in range(draws):
        drawn = np.unique(rng.integers(runs, size=runs))
        best.append(drawn[loss_RX[drawn].argmin(axis=0)])
    return np.stack(best)


def _warnings(params_X: Floats) -> tuple[Warned, ...]:
    sizes = np.unique(params_X).size
    if sizes >= 3:
        return ()
    return (
        Warned(
            "few_levels",
            f"The envelope of training curves passes through {sizes} sizes: its powers rest on too"
            " few.",
        ),
    )


def _empty(why: str) -> Envelope:
    nothing = np.empty(0)
    return Envelope(
        nothing,
        nothing,
        nothing,
        nothing,
        (),
        None,
        None,
        (Warned("no_envelope", f"There is no envelope: {why}."),),
    )
