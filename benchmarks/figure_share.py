"""What fig. 1 costs: dialogs trained for it, against its full grid trained to the end of its
budget.

    python benchmarks/figure_share.py
    python benchmarks/figure_share.py --store results/scalelab.db [--experiment facts_vs_params]

The first runs the experiment in a store of its own, about nine minutes on two cores; the second
reads a store in which it has run (`scalelab run specs/facts_vs_params.yaml`).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scalelab.core.events import FINISHED
from scalelab.store import open_store

TOY = "SCALELAB_TOY" in os.environ
SPEC = Path(__file__).parents[1] / "specs" / "facts_vs_params.yaml"
SMALLER = ["budget.exposures=2", "axes.task.people=[2, 4]", "axes.model.width=[4, 8]"]


def main() -> None:
    """Run the experiment where no store is given, and print the shares."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--store")
    options.add_argument("--experiment", default="facts_vs_params")
    given = options.parse_args()
    if given.store is not None:
        shares(given.store, given.experiment)
        return
    with TemporaryDirectory() as folder:
        store = str(Path(folder, "share.db"))
        command = [str(Path(sys.executable).parent / "scalelab"), "run", str(SPEC)]
        command += ["--store", store]
        if TOY:
            command += ["--executor", "inline"]
            command += [word for setting in SMALLER for word in ("--set", setting)]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        shares(store, given.experiment)


def shares(where: str, experiment: str) -> None:
    """Print the share of dialogs, and of the grid's FLOPs, that were trained."""
    with open_store(where, mode="read") as store:
        members = store.members(experiment)
    failed = [record.digest for record, _, result in members if result.state == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} trials of {experiment} failed, first {failed[0]}")
    if not any(result.state in FINISHED for _, _, result in members):
        raise SystemExit(f"no trial of {experiment} has run in {where}: run the experiment first")
    batch = {record.digest: record.trial["batch"] for record, _, _ in members}
    ran = {record.digest: result.step or 0 for record, _, result in members}
    grid = sum(record.steps * batch[record.digest] for record, _, _ in members)
    trained = sum(ran[record.digest] * batch[record.digest] for record, _, _ in members)
    flops = sum(record.flops for record, _, _ in members)
    spent = sum(record.flops * ran[record.digest] / record.steps for record, _, _ in members)
    seconds = sum(result.seconds or 0 for _, _, result in members)
    print(f"trials run            {sum(map(bool, ran.values())):>12,} of {len(members):,}")
    print(f"dialogs trained       {trained:>12,} of {grid:,}: {trained / grid:.1%}")
    print(f"FLOPs spent           {spent:>12.3g} of {flops:.3g}: {spent / flops:.1%}")
    print(f"seconds in trials     {seconds:>12,.0f}")


if __name__ == "__main__":
    main()
