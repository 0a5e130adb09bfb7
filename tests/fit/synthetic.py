"""Rows made from laws with known coefficients, and the public Chinchilla runs, as
problems to fit.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scalelab.fit.formula import Floats
from scalelab.fit.laws import LAWS
from scalelab.fit.problem import Problem

TABLE = Path(__file__).parents[1] / "tables" / "chinchilla_epoch_245.csv"

TRUE: dict[str, dict[str, float]] = {
    "power": {"A": 30, "alpha": 0.15},
    "power_offset": {"E": 1.7, "A": 400, "alpha": 0.34},
    "chinchilla": {"E": 1.8, "A": 480, "alpha": 0.35, "B": 2100, "beta": 0.37},
    "kaplan": {"Nc": 8.8e13, "alphaN": 0.076, "alphaD": 0.095, "Dc": 5.4e13},
    "width_depth": {
        "E": 1.5,
        "A": 30,
        "alpha": 0.6,
        "B": 0.5,
        "beta": 0.8,
        "F": 200,
        "gamma": 0.33,
        "G": 800,
        "zeta": 0.35,
    },
    "width_depth_tokens": {
        "E": 1.5,
        "A": 30,
        "alpha": 0.6,
        "B": 0.5,
        "beta": 0.8,
        "G": 800,
        "zeta": 0.35,
    },
    "overtraining": {"E": 1.5, "a": 141, "eta": 0.1212, "b": 189},
    "data_constrained": {"E": 1.87, "A": 521, "alpha": 0.353, "B": 1488, "R": 15.4, "beta": 0.353},
    "repeated_data": {
        **{"E": 1.87, "A": 521, "alpha": 0.353, "B": 1488, "beta": 0.353},
        **{"RD": 15.4, "RN": 5.3},
    },
    "routing": {
        **{"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104},
        **{"Xstart": 1.847, "Xmax": 314.478},
    },
    "moe_granularity": {
        "c": 0.47,
        "g": 2.1,
        "gamma": 0.58,
        "a": 18.1,
        "alpha": 0.115,
        "b": 30.8,
        "beta": 0.147,
    },
    "moe_experts": {
        **{"c": 1.36, "a": 35.9, "delta": 0.23, "alpha": 0.19, "gamma": -0.01},
        **{"b": 36, "omega": -0.55, "beta": 0.18, "zeta": -0.026},
    },
    "moe_sparsity": {
        **{"e": 0.94, "a": 16612, "alpha": 0.6, "b": 5456, "beta": 0.4},
        **{"c": 0.46, "lam": -0.17, "d": 17.3, "delta": 0.16, "gamma": 0.16},
    },
    "precision": {"E": 1.9, "A": 400, "gamma": 2.67, "alpha": 0.4, "B": 4000, "beta": 0.45},
    "broken_power": {"a": 0.3, "b": 8, "c0": 0.05, "d": 3e8, "f": 0.3, "c1": 0.4},
    "sigmoid": {"low": 0.25, "rise": 0.6, "mid": 2e8, "slope": 0.9},
    "capacity": {"intercept": -3000, "bits_per_param": 2.0},
    "error_from_loss": {"eps": 0.86, "k": 2.2, "gamma": 0.7},
}
"""Coefficients of about the published sizes for every law: the conformance suite runs over them."""


def columns(names: Iterable[str], rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Values of columns that laws use, over ranges that experiments have."""
    tokens, params = 10 ** rng.uniform(8.6, 11, rows), 10 ** rng.uniform(7, 9.6, rows)
    made: dict[str, Callable[[], Floats]] = {
        "params.total": lambda: params,
        "params.active": lambda: params,
        "params.non_embedding": lambda: params,
        "params.used": lambda: 10 ** rng.uniform(4, 7, rows),
        "budget.tokens": lambda: tokens,
        "model.width": lambda: 2 ** rng.uniform(7, 12, rows),
        "model.layers": lambda: rng.integers(2, 48, rows).astype(float),
        "metrics.loss": lambda: rng.uniform(2, 5, rows),
        "extra.unique_tokens": lambda: tokens / np.exp(rng.uniform(0, 4, rows)),
        "extra.granularity": lambda: 2.0 ** rng.integers(0, 5, rows),
        "extra.experts": lambda: 2.0 ** rng.integers(0, 6, rows),
        "extra.sparsity": lambda: rng.choice([0, 0.5, 0.75, 0.875, 0.94, 0.98], rows),
        "extra.bits": lambda: rng.choice([3.0, 4, 5, 6, 8, 16], rows),
    }
    return {name: made[name]() for name in names}


def made(
    name: str, rows: int = 120, noise: float = 0.005, seed: int = 0, **changes: Any
) -> Problem:
    """Rows that follow the law but for noise, relative to the target where residuals are
    logarithms, else to its mean.
    """
    rng = np.random.default_rng(seed)
    law = replace(LAWS[name], **changes)
    values = columns(law.columns.values(), rows, rng)
    places = {symbol: values[column] for symbol, column in law.columns.items()}
    y_N = Problem.of(law, places, np.ones(rows)).predict(TRUE[name])
    error_N = noise * rng.normal(size=rows)
    y_N = y_N * np.exp(error_N) if law.residual == "log" else y_N + error_N * np.abs(y_N).mean()
    return Problem.of(law, places, y_N)


def chinchilla(dropped: int = 5) -> Problem:
    """Chinchilla's law on the 245 runs read off its figure, D = C / 6N, without the
    highest losses.
    """
    table = pl.read_csv(TABLE).sort("loss").head(245 - dropped)
    params, flops, loss = (
        table[name].to_numpy().astype(np.float64)
        for name in ("Model Size", "Training FLOP", "loss")
    )
    return Problem.of(LAWS["chinchilla"], {"N": params, "D": flops / (6 * params)}, loss)
