"""Does a guided search beat a random one of the same time?

Best objective of `scalelab optimize` by seed, for two samplers.

    python benchmarks/search_quality.py [--space router] [--minutes 4] [--seeds 5] [--set
    base.task.corpus=FILE]

Both samplers of a seed run side by side, one core each, from empty stores: what else the machine
does slows both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

SAMPLERS = ("tpe", "random")


def search(
    space: str, sampler: str, seed: int, minutes: float, settings: list[str]
) -> dict[str, float]:
    """Best objective, and how many trials ended and were pruned."""
    with tempfile.TemporaryDirectory() as folder:
        given = [part for setting in settings for part in ("--set", setting)]
        command = [
            str(Path(sys.executable).with_name("scalelab")),
            "optimize",
            "--space",
            space,
            "--sampler",
            sampler,
            "--seed",
            str(seed),
            "--time",
            f"{60 * minutes:.0f}s",
            "--executor",
            "inline",
            "--no-warm-start",
            "--no-conclusion",
            "--store",
            f"{folder}/search.db",
            "--json",
            *given,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    trials = found["trials"]
    pruned = sum("pruned" in trial["metrics"] for trial in trials)
    return {"best": found["best"]["values"][0], "trials": len(trials), "pruned": pruned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="router")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    found: dict[str, list[float]] = {sampler: [] for sampler in SAMPLERS}
    print(f"{'seed':>4} " + " ".join(f"{sampler:>24}" for sampler in SAMPLERS))
    for seed in range(given.seeds):
        with ThreadPoolExecutor(len(SAMPLERS)) as pool:
            run_one = partial(search, given.space, seed=seed, minutes=given.minutes)
            runs = list(pool.map(partial(run_one, settings=given.settings), SAMPLERS))
        for sampler, run in zip(SAMPLERS, runs, strict=True):
            found[sampler].append(run["best"])
        told = [
            f"{run['best']:>10.4f} ({run['trials']:.0f}, {run['pruned']:.0f} pruned)"
            for run in runs
        ]
        print(f"{seed:>4} " + " ".join(told), flush=True)
    print(
        "median " + " ".join(f"{sampler} {median(values):.4f}" for sampler, values in found.items())
    )


if __name__ == "__main__":
    main()
