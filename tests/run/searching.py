"""A small search over trials that nobody knows beforehand, and a worker whose trials it can tell
apart.
"""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalelab.core.events import FINISHED, PRUNED, Ended, Interrupted, Measured, Started, State
from scalelab.plan.plan import PlannedTrial
from scalelab.search import Progress
from scalelab.store import StoredTrial

METRIC = "loss"
SPACE = {"name": "hill", "objectives": {METRIC: "minimize"}}


class BestSoFar:
    """Asks for trials of a pool, and ends one whose third evaluation, or a later one, is worse than
    another trial's at this step.

    What comes next hangs on the results so far, and on them alone. What it knows beforehand is
    told, or asked for again first.
    """

    def __init__(
        self,
        pool: Sequence[PlannedTrial],
        trials: int,
        known: Sequence[StoredTrial] = (),
        *,
        prunes: bool = True,
    ) -> None:
        self._left = {planned.digest: planned for planned in pool}
        self._trials, self._prunes = trials, prunes
        self._again: deque[PlannedTrial] = deque()
        self._ended: dict[str, float] = {}
        self._best: dict[int, float] = {}
        self._seen: dict[str, int] = {}
        self.open: list[PlannedTrial] = []
        self.own: list[str] = []
        self.exhausted = False
        for member in known:
            digest, result = member.record.digest, member.result
            planned = self._left.pop(digest)
            self.open.append(planned)
            self.own.append(digest)
            if result.state in FINISHED or result.state == "failed":
                for step, value in member.curve:
                    self._note(step, value)
                self.tell(digest, result.state, result.metrics)
            else:
                self._again.append(planned)

    def ask(self) -> PlannedTrial | None:
        if self._again:
            return self._again.popleft()
        if len(self._ended) + len(self.open) >= self._trials:
            return None
        at = int(1000 * sum(self._ended.values())) % len(self._left)
        planned = self._left.pop(list(self._left)[at])
        self.open.append(planned)
        self.own.append(planned.digest)
        return planned

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        self._left.pop(digest, None)
        self.open = [planned for planned in self.open if planned.digest != digest]
        self._ended[digest] = metrics.get(METRIC, 0.0)

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        worse = values[METRIC] > self._best.get(step, values[METRIC])
        self._note(step, values[METRIC])
        self._seen[digest] = self._seen.get(digest, 0) + 1
        return self._prunes and worse and self._seen[digest] >= 3

    def _note(self, step: int, value: float) -> None:
        self._best[step] = min(value, self._best.get(step, value))

    @property
    def finished(self) -> bool:
        return len(self._ended) >= self._trials

    @property
    def progress(self) -> Progress:
        return Progress(len(self._ended), self._trials, "trials", len(self._ended) / self._trials)

    def share_of(self, planned: PlannedTrial) -> float:
        return 1 / self._trials


def descending(pace_s: float = 0.0, runs: str = "", metric: str = METRIC):
    """A worker whose metric falls from a height that the learning rate sets.

    It keeps its curve in its folder as a checkpoint.
    """

    def descend(trial, execution, *, folder, emit, stopping, pruned):
        kept = Path(folder or "/nowhere") / "curve"
        curve = json.loads(kept.read_text()) if kept.exists() else []
        emit(Started({}, resumed=len(curve)))
        for step, loss in enumerate(curve, 1):
            emit(Measured(step, {metric: loss}))
        while len(curve) < trial.budget.steps and not pruned():
            time.sleep(pace_s)
            curve.append(trial.optim.lr * 10 + 1 / (len(curve) + 1))
            emit(Measured(len(curve), {metric: curve[-1]}))
            if folder is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(curve))
            if stopping():
                raise Interrupted
        ended = Ended("done", len(curve), pace_s, {metric: curve[-1]})
        if len(curve) < trial.budget.steps:
            ended = Ended(
                "stopped", len(curve), pace_s, {metric: curve[-1], PRUNED: float(len(curve))}
            )
        if runs:
            with open(runs, "a") as file:  # noqa: PTH123 - what is appended this way arrives whole
                file.write(f"{trial.digest()}\n")
        emit(ended)
        return ended

    return descend
