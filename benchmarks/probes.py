"""What the probes cost: the share of a trial's time in which its evaluations estimate
`recall_unseen` and `recall_permuted`, over small and large trials of `specs/facts_vs_params.yaml`.

    taskset -c 1 python benchmarks/probes.py

Every evaluation is timed with the probes and without them. Processor time, on one thread.
"""

import os
import time
from pathlib import Path

from scalelab.families.language_model import LanguageModel
from scalelab.plan.plan import compile_plan
from scalelab.spec.execution import Execution
from scalelab.spec.load import load
from scalelab.tasks.facts.evaluate import RecallTest
from scalelab.train import train

TOY = "SCALELAB_TOY" in os.environ
SPEC = Path(__file__).parents[1] / "specs" / "facts_vs_params.yaml"
PEOPLE, WIDTHS, EXPOSURES = ([2], [4], 2) if TOY else ([8, 32], [8, 32], 300)
SETTINGS = [f"axes.task.people={PEOPLE}", f"axes.model.width={WIDTHS}", "replicates=1"]

quick = RecallTest.quick


class Clock:
    """Seconds of evaluations, with the probes and without."""

    def __init__(self) -> None:
        self.whole = self.bare = 0.0

    def timed(self, test: RecallTest, model: LanguageModel) -> dict[str, float]:
        """An evaluation, and the same once more without the probes."""
        began = time.process_time()
        found = quick(test, model)
        between = time.process_time()
        bare = RecallTest(test.data, test.device, test.stopping)
        vars(bare).update(vars(test), _samples={"recall": vars(test)["_samples"]["recall"]})
        assert quick(bare, model).items() < found.items()
        self.whole += between - began
        self.bare += time.process_time() - between
        return found


def main() -> None:
    """Train the trials of each recall mode; print a line for each mode, and one for both."""
    probes, seconds = 0.0, 0.0
    for mode in ("in_weight", "in_tool"):
        settings = [*SETTINGS, f"axes.task.recall=[{mode}]", f"budget.exposures={EXPOSURES}"]
        here, began = Clock(), time.process_time()
        RecallTest.quick = lambda self, model, here=here: here.timed(self, model)
        for planned in compile_plan(*load(SPEC, settings)).trials:
            assert train(planned.trial, Execution(threads=1)).state in ("done", "stopped")
        spent = time.process_time() - began - here.bare
        show(mode, here.whole - here.bare, spent)
        probes, seconds = probes + here.whole - here.bare, seconds + spent
    show("both", probes, seconds)


def show(what: str, probes: float, seconds: float) -> None:
    """One line."""
    print(
        f"{what:10} {probes:6.2f} s of {seconds:6.1f} s in trials: {probes / seconds:.1%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
