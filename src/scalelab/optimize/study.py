"""One space as an Optuna study in memory: points are proposed, or put there because they are known,
and told their values.

Every proposal comes from a fresh sampler with a seed of its own, and one that is taken back leaves
no trace: what is proposed depends on the seed, on the number of trials before it, and on what they
were told.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random

import optuna
from optuna.trial import FrozenTrial, TrialState

from scalelab.core.seeds import derive
from scalelab.optimize.distributions import parameter, parameters_of, suggest
from scalelab.optimize.front import Losses, beats, losses
from scalelab.optimize.storage import FixedPointSampler, WindowedStorage, quiet
from scalelab.plan.plan import PlannedTrial
from scalelab.spec.axes import Point
from scalelab.spec.conditions import drawn, in_order
from scalelab.spec.space import Space

BEST, LATEST = 40, 60
"""How many trials a windowed sampler (TPE, GP) models: the best ones (of several objectives those
on the front), and the latest of the others.

TPE calls 25 trials good at most, and of the others the oldest count least; a model of all of them
takes ever longer.
"""


class SpaceStudy:
    """The trials of a space as Optuna sees them."""

    def __init__(self, space: Space, probe: PlannedTrial) -> None:
        """`probe` is any trial of the space: a pruner goes by its evaluations."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._order = space, in_order(space.search)
        self._memory = WindowedStorage()
        self._warm: list[FrozenTrial] = []
        self._elite: list[tuple[int, Losses]] = []
        self._unconditional = {
            path: parameter(given) for path, given in sorted(space.search.items()) if not given.when
        }
        self._is_lower_better = [one == "minimize" for one in space.objectives.values()]
        steps = probe.trial.evaluation.steps(probe.steps)
        with quiet():
            self.optuna = optuna.create_study(
                storage=self._memory,
                study_name=space.name,
                directions=list(space.objectives.values()),
                pruner=space.pruner.build(steps[0], steps[-1]),
            )

    def propose(self, place: int, attempt: int) -> tuple[optuna.Trial, Point]:
        """The sampler's proposal for the trial with this number in the order of asking."""
        seed = derive(self._space.seed, "ask", place, attempt) % 2**32
        with quiet(), self._window():
            self.optuna.sampler = self._space.sampler.build(seed, self._unconditional, self._warm)
            trial = self.optuna.ask()
            return trial, suggest(trial, self._space.search, self._order)

    def draw(self, place: int, attempt: int) -> Point:
        """A point by chance, which no sampler has a hand in."""
        return drawn(self._space.search, Random(derive(self._space.seed, "draw", place, attempt)))

    def put(self, point: Point, *, warm: bool = False) -> optuna.Trial:
        """A trial at a point that is known.

        A `warm` one comes from elsewhere.
        """
        sampler = self._space.sampler
        is_replayed = sampler.replays == "everything" or (sampler.replays == "own" and not warm)
        with quiet():
            inner = sampler.build(0, self._unconditional, self._warm) if is_replayed else None
            known = parameters_of(point, self._space.search)
            self.optuna.sampler = FixedPointSampler(known, inner)
            trial = self.optuna.ask()
            suggest(trial, self._space.search, self._order)
        return trial

    def take_back(self, trial: optuna.Trial) -> None:
        """The last trial is none."""
        self._memory.take_back(trial)

    def complete(self, trial: optuna.Trial, values: Sequence[float], *, warm: bool = False) -> None:
        """The trial came to its end."""
        with quiet():
            told = self.optuna.tell(trial, list(values))
        self._rank(trial.number, values)
        if warm:
            self._warm.append(told)

    def prune(self, trial: optuna.Trial) -> None:
        """The trial was ended early."""
        self.optuna.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial) -> None:
        """Nothing can be learnt from the trial."""
        self.optuna.tell(trial, state=TrialState.FAIL)

    def _window(self) -> AbstractContextManager[None]:
        """What the sampler sees: a windowed one only the best and the latest trials."""
        since = len(self._memory.get_all_trials(self.optuna._study_id, deepcopy=False)) - LATEST
        if since <= BEST or not self._space.sampler.is_windowed:
            return nullcontext()
        older = [number for number, _ in self._elite if number < since]
        return self._memory.window(
            older[:BEST] if len(self._space.objectives) == 1 else older[-BEST:], since
        )

    def _rank(self, number: int, values: Sequence[float]) -> None:
        """One objective: the best ones first. Several: the front, in the order of asking."""
        mine = losses(values, self._is_lower_better)
        if len(mine) > 1:
            if any(beats(other, mine) for _, other in self._elite):
                return
            self._elite = [(kept, other) for kept, other in self._elite if not beats(mine, other)]
            self._elite.append((number, mine))
            self._elite.sort()
        else:
            self._elite.append((number, mine))
            self._elite.sort(key=lambda one: (one[1], one[0]))
            del self._elite[BEST + LATEST :]
