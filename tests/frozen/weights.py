"""Trains two tiny trials of each family and task in this process, and prints a JSON line of each:
its digest, the hash of its weights, and its last metrics without those of speed.

Hashes of weights differ between processors, so none is committed. On one machine, two checkouts
train the same bits where these lines are the same:

    python tests/frozen/weights.py > a.jsonl        # in each, with its own `src` on PYTHONPATH
    diff a.jsonl b.jsonl
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

SPECS = Path(__file__).parent / "specs"
NAMES = ("families", "tasks", "objectives", "gqa_moe", "routers")
SPEED = re.compile(r"seconds|_per_second|^mfu$|memory")


def trained(name: str, folder: Path) -> list[dict[str, object]]:
    """Run a spec's trials with two seeds. Raises CalledProcessError where one fails."""
    store = ("--store", "store.db")
    command = (sys.executable, "-m", "scalelab")
    seeds = ("--set", "replicates=2", "--executor", "inline", "--json")
    run = [*command, "run", str(SPECS / f"{name}.yaml"), *seeds, *store]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(run, cwd=folder, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(told.stdout)["trials"]


def hashes(folder: Path) -> dict[str, str]:
    """Digest -> hash of the weights, of every trial of the store."""
    store = sqlite3.connect(folder / "store.db")
    found = store.execute(
        "SELECT digest, place FROM artifacts JOIN trials ON trials.id = artifacts.trial WHERE"
        " name = 'weights_sha256'"
    ).fetchall()
    store.close()
    return dict(found)


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in NAMES:
            trials = trained(name, folder)
            weights = hashes(folder)
            for trial in trials:
                metrics = {
                    key: value
                    for key, value in sorted(trial["metrics"].items())
                    if not SPEED.search(key)
                }
                line = {
                    "experiment": name,
                    "axes": trial["axes"],
                    "seed": trial["seed"],
                    "digest": trial["digest"],
                    "state": trial["state"],
                    "weights_sha256": weights[trial["digest"]],
                    "metrics": metrics,
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
