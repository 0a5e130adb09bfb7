"""Frames of trials for fits: the public tables, and tables made from a law."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from scalelab.store import frames
from scalelab.store.table import read_published

TABLES = Path(__file__).parents[1] / "tables"
CHINCHILLA = TABLES / "chinchilla_epoch_245.csv", TABLES / "chinchilla.yaml"
GADRE = TABLES / "gadre_overtraining_104.csv", TABLES / "gadre.yaml"

SMALL = '["d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8"]'
FITTED = (
    f"extra.model in {SMALL} and extra.multiplier == 1 or extra.model == 'd=96_l=8_h=4' and"
    " extra.multiplier == 16"
)
HELD_OUT = "extra.model == open_lm_1b and extra.multiplier == 32 or extra.model == open_lm_7b"
"""Gadre et al.'s protocol: five points, and the two that they predict."""

TRUE = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}


def chinchilla() -> pl.DataFrame:
    """Epoch's 240 rows: the five highest losses left out."""
    return frames.published(read_published(*CHINCHILLA)).sort("metrics.loss").head(240)


def gadre() -> pl.DataFrame:
    """All 104 rows."""
    return frames.published(read_published(*GADRE))


def trials(
    columns: Mapping[str, Sequence[object] | np.ndarray], **others: Sequence[object]
) -> pl.DataFrame:
    """A frame of trials with these columns; all done and each a configuration of its own, unless
    `others` says more.
    """
    count = len(next(iter(columns.values())))
    fixed = {
        "digest": [f"d{row}" for row in range(count)],
        "state": ["done"] * count,
        "configuration": [f"c{row}" for row in range(count)],
    }
    return pl.DataFrame(
        {**fixed, **{name: list(values) for name, values in {**columns, **others}.items()}},
        strict=False,
    )


def grid(noise: float = 0.003, seed: int = 0, sizes: int = 6, lengths: int = 4) -> pl.DataFrame:
    """Runs of Chinchilla's law with the coefficients `TRUE`, on a grid of sizes and tokens."""
    params, tokens = (
        part.ravel()
        for part in np.meshgrid(np.geomspace(1e7, 1e10, sizes), np.geomspace(1e9, 1e12, lengths))
    )
    loss = law(params, tokens) * np.exp(
        noise * np.random.default_rng(seed).normal(size=params.size)
    )
    return trials({"params.total": params, "budget.tokens": tokens, "metrics.loss": loss})


def law(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Chinchilla's law at `TRUE`."""
    return TRUE["E"] + TRUE["A"] * params ** -TRUE["alpha"] + TRUE["B"] * tokens ** -TRUE["beta"]
