"""What a guided search costs beside its training. Run: python benchmarks/search.py [sampler ...]

1,000 trials of a space of 11 paths with conditions, whose worker answers at once: asking,
compiling, the store (a trial enlisted, begun and ended in a real file) and telling. Then the study
is made anew from the store, as a search that goes on does.
"""

import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scalelab.core.events import Ended, Started
from scalelab.optimize.guided import GuidedSearch
from scalelab.plan.plan import PlannedTrial
from scalelab.run.registering import record
from scalelab.spec.load import Document
from scalelab.spec.load_space import load_space
from scalelab.spec.space import Space
from scalelab.store import open_store
from scalelab.store.history import search_history
from scalelab.store.store import Store

TOY = "SCALELAB_TOY" in os.environ
TRIALS, SLICE = (4, 2) if TOY else (1000, 200)

SPACE = """
name: benchmark
base:
  task: {kind: arithmetic, length: 2, longest: 3}
  model: {kind: layer_router, layers: 3, width: solve, heads: 2, head_width: 8}
  budget: {steps: 100, params: {target: 30k, tolerance: 0.05}}
search:
  optim.lr: {float: [1e-3, 2e-2], log: true}
  model.policy: {choice: [learned, closed, open]}
  model.steps: {int: [3, 8]}
  model.identity: {int: [0, 2]}
  model.selection.kind: {choice: [straight_through, gumbel, reinforce]}
  model.router.kind: {choice: [linear, mlp, gru], when: {model.policy: [closed, open]}}
  model.router.width: {int: [16, 64], log: true, when: {model.router.kind: [mlp, gru]}}
  model.router.temperature: {float: [0.3, 3], log: true, when: {model.policy: [closed, open]}}
  model.balance.bias: {choice: [0, 1e-3, 1e-2]}
  model.halting.kind: {choice: [none, act, ponder, threshold]}
  model.halting.cost:
    {float: [1e-4, 1e-1], log: true, when: {model.halting.kind: [act, ponder, threshold]}}
objectives: {loss: minimize}
"""


def main() -> None:
    """Print a table: milliseconds a trial, by place in the order of asking."""
    print(
        f"{'sampler':<10}{'trials':>12}{'ask':>8}{'store':>8}{'tell':>8}{'all':>8}{'processor':>12}"
    )
    for sampler in sys.argv[1:] or ["random", "tpe"]:
        with (
            TemporaryDirectory() as folder,
            open_store(Path(folder, "benchmark.db"), mode="write") as store,
        ):
            path = Path(folder, "space.yaml")
            path.write_text(SPACE)
            space, document = load_space(path, [f"sampler={sampler}"])
            searched(sampler, space, document, store)
            began = time.perf_counter()
            again = GuidedSearch(
                space, document, search_history(store, space, document), trials=TRIALS
            )
            assert again.finished, "the search did not find its trials in the store"
            print(f"{sampler:<10}{'made anew':>12}{time.perf_counter() - began:>42.2f} s")


def searched(sampler: str, space: Space, document: Document, store: Store) -> None:
    """A search from its first to its last trial."""
    store.open_experiment(space.name, space.model_dump(mode="json"))
    search, clock = (
        GuidedSearch(space, document, search_history(store, space, document), trials=TRIALS),
        Clock(),
    )
    for number in range(1, TRIALS + 1):
        with clock.on("ask"):
            planned = search.ask()
        assert planned is not None
        ended = Ended("done", planned.steps, 1.0, {"loss": loss(planned)})
        with clock.on("store"):
            assert store.enlist(space.name, record(planned), "benchmark")
            store.end(
                planned.digest,
                store.begin(
                    planned.digest, Started({"device": "cpu"}), {"commit": "c0ffee"}, "benchmark"
                ),
                ended,
            )
        with clock.on("tell"):
            search.tell(planned.digest, ended.state, ended.values)
        if number % SLICE == 0:
            clock.show(sampler, f"{number - SLICE + 1}-{number}")


def loss(planned: PlannedTrial) -> float:
    """A loss with a smallest value, as if it had been trained for."""
    axes = planned.axes
    rate, cost = (
        math.log10(axes["optim.lr"]) + 2.3,
        math.log10(axes.get("model.halting.cost", 1)) / 10,
    )
    return (
        2
        + rate**2
        + (axes["model.steps"] - 6) ** 2 / 20
        + cost**2
        + (axes["model.policy"] != "open") / 5
    )


class Clock:
    """Adds up seconds by name, and this process's own: on a busy machine those are fewer."""

    def __init__(self) -> None:
        self._seconds, self._processor = defaultdict[str, float](float), 0.0

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        began, processor = time.perf_counter(), time.process_time()
        yield
        self._seconds[name] += time.perf_counter() - began
        self._processor += time.process_time() - processor

    def show(self, sampler: str, trials: str) -> None:
        """A line of means since the last one."""
        parts = [1000 * self._seconds[name] / SLICE for name in ("ask", "store", "tell")]
        columns = "".join(f"{part:>8.1f}" for part in (*parts, sum(parts)))
        print(f"{sampler:<10}{trials:>12}{columns}{1000 * self._processor / SLICE:>12.1f}")
        self._seconds, self._processor = defaultdict(float), 0.0


if __name__ == "__main__":
    main()
