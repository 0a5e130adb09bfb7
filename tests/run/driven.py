"""A driver in a process of its own, for tests that interrupt and kill it: python driven.py STORE
SPEC [options].

Its trials count slowly, keep their position in their folder, and append a line to RUNS whenever one
of them ends. With `--space` the spec is a space, which Optuna searches.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.run.searching import descending

from scalelab.core.events import Ended, Interrupted, Measured, Started
from scalelab.core.signals import STOPPING, Signalled, exit_code
from scalelab.plan.plan import compile_plan
from scalelab.run.driver import Options, drive, drive_search
from scalelab.run.summary import Summary
from scalelab.spec.load import load
from scalelab.spec.load_space import load_space
from scalelab.store import open_store


def counter(runs: str, pace_s: float, deaf: bool = False):
    """A worker that takes `pace_s` for each step; a deaf one does not hear that it is to stop, as
    while data are built.
    """

    def count(trial, execution, *, folder, emit, stopping, pruned):
        position = Path(folder) / "step"
        step = int(position.read_text()) if position.exists() else 0
        emit(Started({}, resumed=step))
        while step < trial.budget.steps:
            time.sleep(pace_s)
            step += 1
            emit(Measured(step, {"recall": step / trial.budget.steps}))
            if not deaf and stopping():
                position.parent.mkdir(parents=True, exist_ok=True)
                position.write_text(str(step))
                raise Interrupted
        with open(runs, "a") as file:  # noqa: PTH123 - what is appended this way arrives whole
            file.write(f"{trial.digest()}\n")
        ended = Ended("done", step, step * pace_s, {"recall": 1.0})
        emit(ended)
        return ended

    return count


def searched(path: str, store, options: Options, worker) -> Summary:
    from scalelab.optimize.opening import open_search

    space, document = load_space(path)
    search = open_search(store, space, document).search
    return drive_search(
        search,
        store,
        options,
        experiment=space.name,
        spec=space.model_dump(mode="json"),
        execution=search.experiment.execution,
        worker=worker,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("spec")
    parser.add_argument("--executor", default="inline")
    parser.add_argument("--address")
    parser.add_argument("--pace", type=float, default=0.02)
    parser.add_argument("--time", type=float)
    parser.add_argument("--nohup", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--space", action="store_true")
    parsed = parser.parse_args()
    for number in STOPPING:  # whoever runs the tests may ignore some
        is_ignored = parsed.nohup and number == signal.SIGHUP
        signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    folder = Path(parsed.store).parent
    options = Options(
        parsed.executor,
        jobs=2,
        address=parsed.address,
        folder=folder / "trials",
        time_s=parsed.time,
    )
    runs = str(folder / "runs")
    with open_store(parsed.store, mode="write") as store:
        if parsed.space:
            summary = searched(parsed.spec, store, options, descending(parsed.pace, runs, "recall"))
        else:
            summary = drive(
                compile_plan(*load(parsed.spec)),
                store,
                options,
                worker=counter(runs, parsed.pace, parsed.deaf),
            )
    print(summary)
    return summary.exit_code


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Signalled as stopped:
        raise SystemExit(exit_code(stopped.number)) from None
