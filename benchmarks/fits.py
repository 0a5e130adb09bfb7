"""How well and how fast laws are fitted: the figures that the documentation gives, on one core.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/fits.py [CHINCHILLA.csv]

Chinchilla's law on the 245 runs that Besiroglu et al. 2024 (arXiv 2404.10102) read off the figure,
without the 5 highest losses.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from scalelab.fit.bootstrap import bootstrap
from scalelab.fit.estimate import interval
from scalelab.fit.law import Choices
from scalelab.fit.laws import LAWS
from scalelab.fit.minimise import minimise
from scalelab.fit.optimum import SAME, Optimum, optimise, starts
from scalelab.fit.problem import Problem
from scalelab.fit.profile import profile
from scalelab.fit.projection import cross_check

TABLE = Path(__file__).parents[1] / "tests" / "tables" / "chinchilla_epoch_245.csv"
TOY = "SCALELAB_TOY" in os.environ
ROWS, SEARCHED, DRAWS, CHECKED, STARTS = (60, 20, 40, 4, 5) if TOY else (240, 500, 4000, 100, 50)
"""Rows, starts from the box, refits, those that are looked at, and starts for each of these."""

Found = TypeVar("Found")


def main() -> None:
    """Measure and print one line for each figure."""
    problem = read(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
    optimum = timed(
        f"{SEARCHED} starts from the box", lambda: optimise(problem, Choices(starts=SEARCHED))
    )
    show_optimum(optimum)
    grid = timed(
        "4,500 starts of Hoffmann's grid", lambda: optimise(problem, Choices(starts="hoffmann"))
    )
    print(f"  at the best: {grid.at_best:,} of {grid.tried:,}")
    checked = timed("variable projection", lambda: cross_check(problem))
    assert checked is not None, "the law does not allow variable projection"
    print(f"  objective {checked.objective:.13f}")
    draws = timed(
        f"{DRAWS:,} bootstrap refits",
        lambda: bootstrap(problem, optimum, np.arange(len(problem.y_N)), DRAWS),
    )
    for name in ("E", "alpha", "beta"):
        found = interval(draws[name])
        assert found is not None, f"too few refits have a finite {name}"
        low, high = found
        print(f"  {name}: standard error {draws.se(draws[name]):.5f}, 95 % {low:.4f} to {high:.4f}")
    timed(
        f"{CHECKED} of these refitted from {STARTS} starts each",
        lambda: check(problem, draws.by_name),
    )
    timed(
        "profiles of all coefficients",
        lambda: [profile(problem, optimum, name) for name in problem.names],
    )


def read(path: Path) -> Problem:
    """Chinchilla's law on the public table."""
    table = pl.read_csv(path).sort("loss").head(ROWS)
    params, flops, loss = (
        table[name].to_numpy().astype(np.float64)
        for name in ("Model Size", "Training FLOP", "loss")
    )
    return Problem.of(LAWS["chinchilla"], {"N": params, "D": flops / (6 * params)}, loss)


def timed(what: str, work: Callable[[], Found]) -> Found:
    """Do it once and print how long it took."""
    began = time.perf_counter()
    found = work()
    print(f"{what:<48} {time.perf_counter() - began:7.2f} s")
    return found


def show_optimum(optimum: Optimum) -> None:
    """The optimum and how sure it is one."""
    values = ", ".join(f"{name} {value:.5g}" for name, value in optimum.coefficients.items())
    print(f"  objective {optimum.objective:.13f} at {values}")
    print(
        f"  at the best: {optimum.at_best} of {optimum.tried}; gradient norm over objective"
        f" {optimum.gradient_norm:.1e}"
    )


def check(problem: Problem, drawn: dict[str, np.ndarray]) -> None:
    """How many refits lie above the best that many starts find for the same resample (the draws are
    those of seed 0).
    """
    rows = len(problem.y_N)
    count_BN = (
        np.random.default_rng(0)
        .multinomial(rows, np.full(rows, 1 / rows), size=DRAWS)[:CHECKED]
        .astype(np.float64)
    )
    refitted_B = problem.value_and_gradient(problem.theta(drawn)[:CHECKED], count_BN)[0]
    starts_SP, _ = starts(problem, Choices(starts=STARTS))
    many = minimise(problem, np.tile(starts_SP, (CHECKED, 1)), np.repeat(count_BN, STARTS, axis=0))
    best_B = many.objective_S.reshape(CHECKED, STARTS).min(axis=1)
    print(
        f"  refits that are not at the best: {int((refitted_B > best_B * (1 + SAME)).sum())} of"
        f" {CHECKED}"
    )


if __name__ == "__main__":
    main()
