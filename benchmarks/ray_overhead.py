"""What Ray costs: its start, its overhead per trial, and the memory of the idle driver and Ray.

    python benchmarks/ray_overhead.py
    python benchmarks/ray_overhead.py --trials 1000

Trials that do nothing run through the executor, so all the time between the first and the last of
them is overhead. Memory is the proportional set size (PSS), in which pages that processes share
count once; Linux only.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from scalelab.core.events import Ended, Event, Measured, Started
from scalelab.families.cost import Parameters
from scalelab.plan.plan import PlannedTrial
from scalelab.run.executors import inline, ray
from scalelab.run.executors.base import Job
from scalelab.spec.budget import Budget
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial

TOY = "SCALELAB_TOY" in os.environ
REPORTS = 10
"""Measurements that each trial tells."""


class Clocked:
    """Hands out trials that do nothing, and looks at the clock."""

    stopping = overdue = False

    def __init__(self, trials: int) -> None:
        self.left, self.open = trials, trials
        self.first = self.last = 0.0
        self.memory = 0
        self.faults: list[str] = []

    @property
    def finished(self) -> bool:
        return self.open == 0

    def ask(self) -> PlannedTrial | None:
        if not self.left:
            return None
        self.left -= 1
        trial = Trial(budget=Budget(steps=1), seed=self.left)
        return PlannedTrial(trial, trial.digest(), {}, 0, Parameters(1, 1, 1, {}), 1, 1, 1.0, 1, 1)

    def tell(self, digest: str, event: Event) -> bool:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        if isinstance(event, Ended):
            self.open -= 1
            if event.state != "done":
                self.faults.append(event.error)
        if not self.open:
            self.memory = pss_of_descendants()
        return False

    def say(self, text: str) -> None:
        print(text)


def do_nothing(
    trial: Trial,
    execution: Execution,
    *,
    folder: str | None,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool],
    pruned: Callable[[], bool],
    layers_sha256: str | None = None,
) -> Ended:
    """The worker."""
    emit(Started({}))
    for step in range(REPORTS):
        emit(Measured(step, {"recall": 0.5}))
    ended = Ended("done", 1, 0.0)
    emit(ended)
    return ended


def pss_of_descendants() -> int:
    """PSS in bytes of this process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    family = {int(Path("/proc/self").resolve().name)}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(map(pss, family))


def pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=3 if TOY else 300)
    trials = parser.parse_args().trials
    print(f"{trials} trials that do nothing but tell {REPORTS} measurements")
    for name, execute, jobs in (
        ("inline", inline.execute, 1),
        ("ray, 1 job", ray.execute, 1),
        ("ray, 2 jobs", ray.execute, 2),
    ):
        desk, began = Clocked(trials), time.perf_counter()
        execute(desk, Job(Execution(device="cpu"), worker=do_nothing, jobs=jobs))
        if desk.faults:
            raise SystemExit(
                f"{name}: {len(desk.faults)} of {trials} trials failed, the first with:"
                f" {desk.faults[0]}"
            )
        each = 1000 * (desk.last - desk.first) / (trials - 1)
        start, end = desk.first - began, time.perf_counter() - desk.last
        print(
            f"{name:<12} {each:6.1f} ms a trial, start {start:.1f} s, end {end:.1f} s, PSS"
            f" {desk.memory / 2**20:.0f} MiB in all"
        )


if __name__ == "__main__":
    main()
