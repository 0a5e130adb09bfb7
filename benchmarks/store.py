"""How fast a store takes metrics in and gives them out.

Run: python benchmarks/store.py [postgresql://user@host/database]

100,000 metric rows as a run brings them: 100 trials, 250 points each, 4 metrics a point.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scalelab.core.canon import sha256
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import TrialRecord, frames, open_store
from scalelab.store.store import Store

TOY = "SCALELAB_TOY" in os.environ
NAMES = ("loss", "recall", "seconds", "tokens_per_second")
PLANNED, TRIALS, POINTS = (10, 3, 5) if TOY else (7800, 100, 250)
ROWS = TRIALS * POINTS * len(NAMES)


def main() -> None:
    """Print a table of what each step takes."""
    with TemporaryDirectory() as folder:
        where = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder, "benchmark.db"))
        planned = [record(number) for number in range(PLANNED)]
        digests = [trial.digest for trial in planned]
        with open_store(where, mode="write") as store:
            show(
                f"register {PLANNED:,} trials",
                lambda: store.register("benchmark", {"name": "benchmark"}, planned),
            )
            show(f"states of {PLANNED:,} trials", lambda: store.states(digests))
            show(
                f"add {ROWS:,} metric rows",
                lambda: add(store, digests[:TRIALS]),
            )
            show(
                f"claim, begin and end {TRIALS} trials",
                lambda: pass_through(store, digests[TRIALS : 2 * TRIALS]),
            )
        with open_store(where, mode="read") as store:
            metrics = show(f"read {ROWS:,} metric rows into Polars", lambda: frames.metrics(store))
            trials = show(f"read {PLANNED:,} trials into Polars", lambda: frames.trials(store))
        # A trial that passed through has the one metric of its end.
        assert (metrics.height, trials.height) == (ROWS + TRIALS, PLANNED)


def show(what: str, work: Callable[[], Any]) -> Any:
    """Do it once and print how long it took."""
    began = time.perf_counter()
    found = work()
    print(f"{what:<42} {time.perf_counter() - began:8.3f} s")
    return found


def record(number: int) -> TrialRecord:
    """A trial of about the size that a real one has."""
    model = {
        "kind": "transformer",
        "layers": 2,
        "width": number,
        **{f"field_{index}": index for index in range(30)},
    }
    trial = {"task": {"kind": "facts", "people": number}, "model": model, "seed": 0}
    axes = {"task.people": number, "model.width": number}
    return TrialRecord(
        sha256(trial),
        trial,
        trial,
        axes,
        0,
        0,
        {"total": 16_592, "non_embedding": 8_192},
        1000,
        10**7,
        1000.0,
        10**12,
    )


def add(store: Store, digests: list[str]) -> None:
    """Record curves, trial by trial."""
    for digest in digests:
        attempt = store.begin(digest, Started({"device": "cpu"}), {"commit": "c0ffee"}, "benchmark")
        for step in range(1, POINTS + 1):
            store.measure(digest, attempt, Measured(step, dict.fromkeys(NAMES, 1 / step)))
        store.end(digest, attempt, Ended("done", POINTS, 1.0))


def pass_through(store: Store, digests: list[str]) -> None:
    """What every trial costs, however short it is."""
    for digest in digests:
        assert store.claim(digest, "benchmark")
        attempt = store.begin(digest, Started({"device": "cpu"}), {"commit": "c0ffee"}, "benchmark")
        store.end(digest, attempt, Ended("done", POINTS, 1.0, {"recall": 1.0}))


if __name__ == "__main__":
    main()
