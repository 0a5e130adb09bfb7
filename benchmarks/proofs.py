"""What it costs that checkpoints prove themselves, and that a store is looked after.

    taskset -c 1 python benchmarks/proofs.py

The share of a tiny trial's processor time that goes into the fence of its folder and the hashes of
its checkpoints; and a heartbeat: is the store there still, and the renewal of sixteen claims.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scalelab.plan.plan import compile_plan
from scalelab.run.registering import register
from scalelab.spec.execution import Execution
from scalelab.spec.load import load
from scalelab.store import open_store
from scalelab.store.patience import Patience
from scalelab.train import checkpoint, train

TOY = "SCALELAB_TOY" in os.environ
TRIALS, STEPS, BEATS = (2, 20, 10) if TOY else (24, 300, 400)
SPEC = f"""\
name: tiny
task: {{people: 8, templates: 1}}
model: {{width: 8}}
budget: {{steps: {STEPS}}}
batch: 16
replicates: {max(16, TRIALS)}
"""


def main() -> None:
    """Print the shares and the times."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "spec.yaml").write_text(SPEC)
        plan = compile_plan(*load(Path(folder) / "spec.yaml"))
        clock = Clock("enter", "leave", "check_attempt", "_head")
        shares = []
        for planned in plan.trials[:TRIALS]:
            clock.seconds, began = 0.0, time.process_time()
            ended = train(planned.trial, Execution(), folder=Path(folder) / planned.digest)
            assert ended.state in ("done", "stopped"), ended.error
            shares.append(clock.seconds / (time.process_time() - began))
        print(f"proofs, share of a trial's processor time: {statistics.median(shares):.2%}")
        with open_store(Path(folder) / "store.db", mode="write") as store:
            register(plan, store)
            for planned in plan.trials[:16]:
                assert store.claim(planned.digest, "me")
            patience = Patience(60.0, print, hurried=lambda: False)
            with store.database.watched(patience):

                def beat() -> None:
                    store.database.check()
                    store.renew("me")

                times = sorted(elapsed(beat) for _ in range(BEATS))
        print(
            f"a heartbeat: {statistics.median(times) * 1e3:.2f} ms, p95"
            f" {times[int(0.95 * BEATS)] * 1e3:.2f} ms"
        )


class Clock:
    """Processor time of some functions of `checkpoint`."""

    def __init__(self, *names: str) -> None:
        self.seconds = 0.0
        for name in names:
            setattr(checkpoint, name, self._timed(getattr(checkpoint, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.process_time() - began

        return timed


def elapsed(action: Callable[[], None]) -> float:
    """Seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
