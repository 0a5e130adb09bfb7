"""How long a page of learning curves takes, from the command to the file.

Run: python benchmarks/report.py

A million metric rows in two shapes: many metrics of some trials, of which one is drawn, and one
metric of many trials.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from scalelab.core.canon import sha256
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import TrialRecord, open_store
from scalelab.store.store import Store

TOY = "SCALELAB_TOY" in os.environ
SHAPES = {
    "200 trials, 1,000 points, 5 metrics": (200, 1000, 5),
    "1,000 trials, 1,000 points, 1 metric": (1000, 1000, 1),
}
if TOY:
    SHAPES = {"4 trials, 5 points, 2 metrics": (4, 5, 2)}
RUNS = 1 if TOY else 3


def main() -> None:
    """Print the median seconds of the command, and the size of the page."""
    for said, (trials, points, metrics) in SHAPES.items():
        with TemporaryDirectory() as folder:
            where = str(Path(folder, "store.db"))
            with open_store(where, mode="write") as store:
                fill(store, trials, points, metrics)
            seconds = sorted(draw(where, folder) for _ in range(RUNS))
            size = Path(folder, "fig-7.html").stat().st_size / 1e6
            print(
                f"{said:<40} {seconds[RUNS // 2]:6.2f} s (of {RUNS}: {seconds[0]:.2f} to"
                f" {seconds[-1]:.2f}), {size:.1f} MB"
            )


def draw(where: str, folder: str) -> float:
    """Seconds of the whole command, a new process."""
    began = time.perf_counter()
    words = ["report", "--fig", "7", "--experiment", "curves", "--store", where, "--out", folder]
    subprocess.run(
        [Path(sys.executable).parent / "scalelab", *words], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def fill(store: Store, trials: int, points: int, metrics: int) -> None:
    """Four replicates of each width, with falling curves."""
    planned = [record(number) for number in range(trials)]
    store.register("curves", {"name": "curves"}, planned)
    for number, trial in enumerate(planned):
        attempt = store.begin(trial.digest, Started({}, 0), {}, "benchmark")
        for step in range(1, points + 1):
            names = ("loss", *(f"metric_{index}" for index in range(1, metrics)))
            store.measure(
                trial.digest, attempt, Measured(step, dict.fromkeys(names, (1 + number % 7) / step))
            )
        store.end(
            trial.digest, attempt, Ended("done", points, 1.0, {"loss": (1 + number % 7) / points})
        )
    store.flush()


def record(number: int) -> TrialRecord:
    """A trial of a width, four of each."""
    width, seed = number // 4, number % 4
    trial = {"model": {"kind": "transformer", "width": width}, "seed": seed}
    return TrialRecord(
        sha256(trial),
        trial,
        trial,
        {"model.width": width},
        seed,
        seed,
        {"total": 10 * width + 10},
        1000,
        10**7,
        1000.0,
        10**12,
    )


if __name__ == "__main__":
    main()
