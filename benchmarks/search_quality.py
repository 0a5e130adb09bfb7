"""Does a guided search beat a random one of the same time?

Best objective of `scalelab optimize` by seed, for two samplers.

    python benchmarks/search_quality.py [--space router] [--minutes 4] [--seeds 5] [--set
    base.task.corpus=FILE]

Both samplers of a seed run side by side, one core each, from empty stores: what else the machine
does slows both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

TOY = "SCALELAB_TOY" in os.environ
ROUTER = Path(__file__).parents[1] / "specs" / "spaces" / "router.yaml"
SAMPLERS = ("tpe", "random")
TOY_SETTINGS = [
    "base.task.context=16",
    "base.budget.tokens=500",
    "base.budget.params.target=10k",
    "base.budget.params.tolerance=0.5",
    "base.evaluation.first=5",
]


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
            *(["--trials", "2"] if TOY else ["--time", f"{60 * minutes:.0f}s"]),
            "--executor",
            "inline",
            "--no-warm-start",
            "--no-conclusion",
            "--store",
            f"{folder}/search.db",
            "--json",
            *given,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{sampler}, seed {seed}: {done.stderr}")
    found = json.loads(done.stdout)
    trials = found["trials"]
    if failed := sum(trial["state"] == "failed" for trial in trials):
        raise SystemExit(f"{sampler}, seed {seed}: {failed} of {len(trials)} trials failed")
    if found["best"] is None:
        raise SystemExit(f"{sampler}, seed {seed}: no trial came to its end")
    pruned = sum("pruned" in trial["metrics"] for trial in trials)
    return {"best": found["best"]["values"][0], "trials": len(trials), "pruned": pruned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default=str(ROUTER))
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=1 if TOY else 5)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if TOY:
            text = Path(folder, "text.txt")
            text.write_text(
                "".join(f"{number} and one are {number + 1}.\n\n" for number in range(999))
            )
            given.settings += [f"base.task.corpus={text}", *TOY_SETTINGS]
        compare(given.space, given.seeds, given.minutes, given.settings)


def compare(space: str, seeds: int, minutes: float, settings: list[str]) -> None:
    """Print the best objective of each seed, and the medians."""
    found: dict[str, list[float]] = {sampler: [] for sampler in SAMPLERS}
    print(f"{'seed':>4} " + " ".join(f"{sampler:>24}" for sampler in SAMPLERS))
    for seed in range(seeds):
        with ThreadPoolExecutor(len(SAMPLERS)) as pool:
            run_one = partial(search, space, seed=seed, minutes=minutes)
            runs = list(pool.map(partial(run_one, settings=settings), SAMPLERS))
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
