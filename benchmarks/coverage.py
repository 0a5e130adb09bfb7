"""How often 95 % intervals hold the true coefficient: sets of runs made from Chinchilla's law.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/coverage.py [--sets 400] [--rows 60]

A side on which a profile never closes counts as held.
"""

import argparse
from collections import Counter

import numpy as np

from scalelab.fit.bootstrap import bootstrap
from scalelab.fit.estimate import estimate
from scalelab.fit.formula import Floats
from scalelab.fit.law import Choices
from scalelab.fit.laws import LAWS
from scalelab.fit.optimum import Optimum, optimise
from scalelab.fit.problem import Problem
from scalelab.fit.profile import profile

TRUE = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}
LOOKED_AT = ("alpha", "beta", "E")
NOISES = ("normal", "t3", "laplace")


def main() -> None:
    """Measure and print one line for each coefficient."""
    options = argparse.ArgumentParser()
    options.add_argument("--sets", type=int, default=400)
    options.add_argument("--first", type=int, default=0, help="seed of the first set")
    options.add_argument("--rows", type=int, default=60)
    options.add_argument("--noise", choices=NOISES, default="normal")
    options.add_argument("--draws", type=int, default=0, help="refits of a bootstrap, if any")
    asked = options.parse_args()
    hits = Counter[tuple[str, str]]()
    for seed in range(asked.first, asked.first + asked.sets):
        problem = made(seed, asked.rows, asked.noise)
        optimum = optimise(problem, Choices(starts=10))
        hits.update(("profile", name) for name in covered(problem, optimum))
        if asked.draws:
            draws = bootstrap(problem, optimum, np.arange(asked.rows), asked.draws, seed)
            for name in LOOKED_AT:
                low, high = estimate(optimum.coefficients[name], draws[name]).ci95 or (0.0, 0.0)
                hits["bootstrap", name] += low <= TRUE[name] <= high
    print(f"{asked.sets} sets of {asked.rows} rows, {asked.noise} noise of 1 %")
    for (kind, name), count in sorted(hits.items()):
        print(f"  {kind} {name}: {count / asked.sets:.1%}")


def made(seed: int, rows: int, noise: str) -> Problem:
    """Runs of the law with errors of 1 % in the logarithm."""
    rng = np.random.default_rng(1000 + seed)
    params_N, tokens_N = 10 ** rng.uniform(7, 9.6, rows), 10 ** rng.uniform(8.6, 11, rows)
    error_N = 0.01 * drawn(rng, rows, noise)
    loss_N = (
        TRUE["E"] + TRUE["A"] * params_N ** -TRUE["alpha"] + TRUE["B"] * tokens_N ** -TRUE["beta"]
    )
    return Problem.of(LAWS["chinchilla"], {"N": params_N, "D": tokens_N}, loss_N * np.exp(error_N))


def drawn(rng: np.random.Generator, rows: int, noise: str) -> Floats:
    """Errors of variance one."""
    if noise == "t3":
        return rng.standard_t(3, size=rows) / np.sqrt(3)
    return rng.laplace(size=rows) / np.sqrt(2) if noise == "laplace" else rng.normal(size=rows)


def covered(problem: Problem, optimum: Optimum) -> list[str]:
    """The coefficients whose profile interval holds the true value."""
    found = []
    for name in LOOKED_AT:
        low, high = profile(problem, optimum, name, points=11).ends
        if (low is None or low <= TRUE[name]) and (high is None or TRUE[name] <= high):
            found.append(name)
    return found


if __name__ == "__main__":
    main()
