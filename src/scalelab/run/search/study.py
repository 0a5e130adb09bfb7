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
from scalelab.plan.plan import PlannedTrial
from scalelab.run.search.distributions import parameters_of, suggest
from scalelab.run.search.samplers import (
    BEST,
    LATEST,
    Given,
    Memory,
    build_pruner,
    build_sampler,
    quiet,
)
from scalelab.spec.axes import Point
from scalelab.spec.conditions import drawn, in_order
from scalelab.spec.guides import Cmaes, Gp, Nsga2, Tpe
from scalelab.spec.space import Space

Values = tuple[float, ...]


class SpaceStudy:
    """The trials of a space as Optuna sees them."""

    def __init__(self, space: Space, probe: PlannedTrial) -> None:
        """`probe` is any trial of the space: a pruner goes by its evaluations."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._order = space, in_order(space.search)
        self._memory = Memory()
        self._warm: list[FrozenTrial] = []
        self._elite: list[tuple[int, Values]] = []
        steps = probe.trial.evaluation.steps(probe.steps)
        with quiet():
            self.optuna = optuna.create_study(
                storage=self._memory,
                study_name=space.name,
                directions=list(space.objectives.values()),
                pruner=build_pruner(space.pruner, steps[0], steps[-1]),
            )

    def propose(self, place: int, attempt: int) -> tuple[optuna.Trial, Point]:
        """The sampler's proposal for the trial with this number in the order of asking."""
        seed = derive(self._space.seed, "ask", place, attempt) % 2**32
        self.optuna.sampler = build_sampler(
            self._space.sampler, seed, self._space.search, self._warm
        )
        with quiet(), self._modelled():
            trial = self.optuna.ask()
            return trial, suggest(trial, self._space.search, self._order)

    def draw(self, place: int, attempt: int) -> Point:
        """A point by chance, which no sampler has a hand in."""
        return drawn(self._space.search, Random(derive(self._space.seed, "draw", place, attempt)))

    def put(self, point: Point, *, warm: bool = False) -> optuna.Trial:
        """A trial at a point that is known.

        A `warm` one comes from elsewhere: CMA-ES, which did not draw it, learns of it otherwise.
        """
        keeps_books = isinstance(self._space.sampler, Nsga2) or (
            isinstance(self._space.sampler, Cmaes) and not warm
        )
        inside = (
            build_sampler(self._space.sampler, 0, self._space.search, self._warm)
            if keeps_books
            else None
        )
        self.optuna.sampler = Given(parameters_of(point, self._space.search), inside)
        with quiet():
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

    def _losses(self, values: Sequence[float]) -> Values:
        """Objectives with their signs turned so that less is better."""
        directions = self._space.objectives.values()
        return tuple(
            value if direction == "minimize" else -value
            for value, direction in zip(values, directions, strict=True)
        )

    def _modelled(self) -> AbstractContextManager[None]:
        """TPE and GP see the best and the latest trials alone."""
        since = len(self._memory.get_all_trials(self.optuna._study_id, deepcopy=False)) - LATEST
        if since <= BEST or not isinstance(self._space.sampler, Tpe | Gp):
            return nullcontext()
        older = [number for number, _ in self._elite if number < since]
        return self._memory.showing(
            older[:BEST] if len(self._space.objectives) == 1 else older[-BEST:], since
        )

    def _rank(self, number: int, values: Sequence[float]) -> None:
        """One objective: the best ones first. Several: the front, in the order of asking."""
        losses = self._losses(values)
        if len(losses) > 1:
            if any(_beats(other, losses) for _, other in self._elite):
                return
            self._elite = [
                (kept, other) for kept, other in self._elite if not _beats(losses, other)
            ]
            self._elite.append((number, losses))
            self._elite.sort()
        else:
            self._elite.append((number, losses))
            self._elite.sort(key=lambda one: (one[1], one[0]))
            del self._elite[BEST + LATEST :]


def _beats(one: Values, other: Values) -> bool:
    """Whether losses are as small in everything and smaller in something."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
