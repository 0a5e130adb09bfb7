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
    failed = [one.record.digest for one in members if one.result.state == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} trials of {experiment} failed, first {failed[0]}")
    if not any(one.result.state in FINISHED for one in members):
        raise SystemExit(f"no trial of {experiment} has run in {where}: run the experiment first")
    batch = {one.record.digest: one.record.trial["batch"] for one in members}
    ran = {one.record.digest: one.result.step or 0 for one in members}
    grid = sum(one.record.steps * batch[one.record.digest] for one in members)
    trained = sum(ran[one.record.digest] * batch[one.record.digest] for one in members)
    flops = sum(one.record.flops for one in members)
    spent = sum(one.record.flops * ran[one.record.digest] / one.record.steps for one in members)
    seconds = sum(one.result.seconds or 0 for one in members)
    print(f"trials run            {sum(map(bool, ran.values())):>12,} of {len(members):,}")
    print(f"dialogs trained       {trained:>12,} of {grid:,}: {trained / grid:.1%}")
    print(f"FLOPs spent           {spent:>12.3g} of {flops:.3g}: {spent / flops:.1%}")
    print(f"seconds in trials     {seconds:>12,.0f}")


if __name__ == "__main__":
    main()
