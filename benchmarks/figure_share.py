"""What fig. 1 costs: dialogs trained for it, against its full grid trained to the end of its
budget.

    python benchmarks/figure_share.py [--store results/scalelab.db] [--experiment facts_vs_params]

Needs a store in which the experiment has run (`scalelab run specs/facts_vs_params.yaml`).
"""

import argparse
from pathlib import Path

from scalelab.store import open_store


def main() -> None:
    """Print the share of dialogs, and of the grid's FLOPs, that were trained."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--store", default="results/scalelab.db")
    options.add_argument("--experiment", default="facts_vs_params")
    given = options.parse_args()
    if not Path(given.store).exists():
        print(f"{given.store} does not exist: run the experiment first")
        return
    with open_store(given.store, mode="read") as store:
        members = store.members(given.experiment)
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
