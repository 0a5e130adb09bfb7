"""The guided search: a sampler proposes points of a space, and learns from what became of them.

The study lies in memory and is made anew from a store's rows. What is not handed out (a trial that
is known, one that cannot be) leaves no trace in it, so what is asked depends on the seed and on the
results alone: with one job a search that was interrupted asks what one that was not does. With
several jobs it also depends on which trials are on their way, which the sampler keeps away from.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import optuna

from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED, PRUNED, State, is_pruned
from scalelab.optimize.distributions import point_at, point_of
from scalelab.optimize.study import SpaceStudy
from scalelab.plan.plan import PlannedTrial, compile_point
from scalelab.search import Progress
from scalelab.search.pruners import Pruner
from scalelab.search.samplers import Sampler
from scalelab.spec.axes import Point
from scalelab.spec.conditions import drawn, every_point
from scalelab.spec.load import Document
from scalelab.spec.load_space import experiment_of
from scalelab.spec.objectives import planned_value
from scalelab.spec.space import Space
from scalelab.store.history import TrialHistory
from scalelab.store.records import StoredTrial

PROPOSALS, DRAWS = 10, 100
"""How often the sampler, and then chance, may come up with what is known or cannot be, before the
points that are left are counted.
"""

COUNTED = 10_000
"""A space with more points than this is exhausted once all these proposals and draws
were in vain.
"""


@dataclass
class AskedTrial:
    """A trial of the search, and what became of it."""

    planned: PlannedTrial
    trial: optuna.Trial
    own: bool
    """Whether the search asked for it; others were known from elsewhere."""
    state: State | None = None
    """None while it is on its way."""
    seen: set[int] = field(default_factory=set)
    """Steps that the pruner has heard of."""
    is_enough: bool = False
    """Whether the pruner has given it up."""


class GuidedSearch:
    """Asks for what a sampler proposes, and ends early what a pruner gives up."""

    def __init__(
        self,
        space: Space,
        document: Document,
        history: TrialHistory,
        *,
        trials: int | None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
    ) -> None:
        """`trials` are asked for in all, those of earlier runs counted in; None has no end.

        Raises UserError where no point is a trial.
        """
        self.space = space.model_copy(
            update={"sampler": sampler or space.sampler, "pruner": pruner or space.pruner}
        )
        self.experiment, self._document = experiment_of(space, document)
        self._limit, self._compiled = trials, dict[str, PlannedTrial | UserError]()
        self._asked: dict[str, AskedTrial] = {}
        self._again: deque[PlannedTrial] = deque()
        self.exhausted = False
        """Whether nothing new was found to try."""
        probe = self._probe()
        self._study = SpaceStudy(self.space, probe)
        common = probe.trial.model_dump(mode="json")
        own, displaced = list[StoredTrial](), list[StoredTrial]()
        for stored in history.own:
            # A member whose axes are no point of the space, which was changed since, is known from
            # elsewhere: its trial may be a point.
            is_point = point_at(stored.record.axes, space.search) is not None
            (own if is_point else displaced).append(stored)
        # What is known from elsewhere comes first, whenever it came.
        for stored in (*displaced, *history.others):
            if _is_alike(stored.record.trial, common, space):
                self._recall(stored, own=False)
        for stored in own:
            if _is_alike(stored.record.trial, common, space):
                self._recall(stored, own=True)

    def ask(self) -> PlannedTrial | None:
        """What an earlier run left unfinished, then a new trial; None once there are as many as
        wanted, or no others.
        """
        if self._again:
            return self._again.popleft()
        if self._is_enough:
            return None
        return self._proposed() or self._drawn() or self._left()

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """A trial's result.

        One that was pruned counts by what it had reached. A diverged one has the worst values there
        are, so that the sampler keeps away from there. Of a failed one nothing is learnt, for the
        machine may be at fault; it is not asked for again.
        """
        asked = self._asked.get(digest)
        if asked is None or asked.state is not None:
            return
        asked.state = state
        values = self._values(asked.planned, state, metrics)
        if is_pruned(state, metrics):
            self._report(asked, round(metrics[PRUNED]), metrics)
            self._study.prune(asked.trial)
        elif values is None:
            self._study.fail(asked.trial)
        else:
            self._study.complete(asked.trial, values, warm=not asked.own)

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """Whether the pruner has seen enough of a trial. What it gave up once it gives up when a
        resumed trial tells its curve again.
        """
        asked = self._asked.get(digest)
        if asked is None or asked.state is not None or len(self.space.objectives) > 1:
            return False
        if step < asked.planned.steps:  # the last step ends the trial anyway
            self._report(asked, step, values)
        return asked.is_enough

    @property
    def own(self) -> list[str]:
        """Digests of what was asked for, in this order, in earlier runs too: these alone count."""
        return [digest for digest, asked in self._asked.items() if asked.own]

    @property
    def warm(self) -> list[str]:
        """Digests of what is known from elsewhere and fits the space."""
        return [digest for digest, asked in self._asked.items() if not asked.own]

    @property
    def asked(self) -> list[AskedTrial]:
        """The trials of `own`, and what became of them."""
        return [asked for asked in self._asked.values() if asked.own]

    @property
    def finished(self) -> bool:
        """Whether as many results are there as are wanted, or all that the space has."""
        return self._is_enough and not self.open

    @property
    def _is_enough(self) -> bool:
        return self.exhausted or (self._limit is not None and len(self.own) >= self._limit)

    @property
    def open(self) -> list[PlannedTrial]:
        """What is on its way. What else may be asked for nobody knows."""
        return [asked.planned for asked in self.asked if asked.state is None]

    @property
    def progress(self) -> Progress:
        """Trials; without a number of them the share stays 0 to the end."""
        done, total = sum(asked.state is not None for asked in self.asked), self._limit
        if total is None or self.exhausted:
            total = len(self.own)
        return Progress(
            done,
            total,
            "trials",
            float(self.finished)
            if self._limit is None
            else min(1.0, done / total)
            if total
            else 1.0,
        )

    def share_of(self, planned: PlannedTrial) -> float:
        """All trials weigh the same."""
        return 1 / self._limit if self._limit else 0.0

    @property
    def study(self) -> optuna.Study:
        """What Optuna knows: what was known from elsewhere, then what was asked for."""
        return self._study.optuna

    def by_chance(self, points: int) -> Iterator[PlannedTrial]:
        """The trials at so many points that chance draws, where there can be one: they tell what
        the space is like.
        """
        for attempt in range(points):
            if (planned := self._compile(drawn(self.space.search, Random(attempt)))) is not None:
                yield planned

    def _proposed(self) -> PlannedTrial | None:
        place = len(self.own)
        for attempt in range(PROPOSALS):
            trial, point = self._study.propose(place, attempt)
            if (planned := self._compile(point)) is not None and planned.digest not in self._asked:
                return self._enter(planned, trial)
            self._study.take_back(trial)
        return None

    def _drawn(self) -> PlannedTrial | None:
        place = len(self.own)
        points = (self._study.draw(place, attempt) for attempt in range(DRAWS))
        return self._first_new(points)

    def _left(self) -> PlannedTrial | None:
        """Of a space that can be counted what is left, and at last what is known from elsewhere:
        that costs nothing, and makes it whole.
        """
        points = every_point(self.space.search, COUNTED) or []
        found = self._first_new(points)
        if found is None:
            found = next(
                (asked.planned for asked in self._asked.values() if points and not asked.own), None
            )
            if found is not None:
                asked = self._asked.pop(found.digest)
                asked.own = True
                self._asked[found.digest] = asked
        self.exhausted = found is None
        return found

    def _first_new(self, points: Iterable[Point]) -> PlannedTrial | None:
        for point in points:
            if (planned := self._compile(point)) is not None and planned.digest not in self._asked:
                return self._enter(planned, self._study.put(point))
        return None

    def _enter(
        self, planned: PlannedTrial, trial: optuna.Trial, *, own: bool = True
    ) -> PlannedTrial:
        trial.set_user_attr("digest", planned.digest)
        self._asked[planned.digest] = AskedTrial(planned, trial, own)
        return planned

    def _compile(self, point: Point) -> PlannedTrial | None:
        """The trial at a point; None where there can be none."""
        key = canonical_json(point)
        if key not in self._compiled:
            try:
                self._compiled[key] = compile_point(self.experiment, self._document, point)
            except UserError as error:
                self._compiled[key] = error
        found = self._compiled[key]
        return None if isinstance(found, UserError) else found

    def _probe(self) -> PlannedTrial:
        """Any trial of the space.

        Raises the UserError of the first point where there is none: its data may not be prepared.
        """
        if (planned := next(self.by_chance(DRAWS), None)) is not None:
            return planned
        raise next(error for error in self._compiled.values() if isinstance(error, UserError))

    def _recall(self, stored: StoredTrial, *, own: bool) -> None:
        """A trial of a store into the study, if it is a trial of this space.

        One of the search's own that has no end is asked for again.
        """
        record, result, search = stored.record, stored.result, self.space.search
        point = point_at(record.axes, search) if own else point_of(record.trial, search)
        planned = None if point is None else self._compile(point)
        if (
            point is None
            or planned is None
            or planned.digest != record.digest
            or record.digest in self._asked
        ):
            return
        if not own and not (
            stored.curve
            if is_pruned(result.state, result.metrics)
            else self._values(planned, result.state, result.metrics)
        ):
            # an earlier search's own that was pruned tells the pruner its curve; of others nothing
            # is learnt
            return
        self._enter(planned, self._study.put(point, warm=not own), own=own)
        if result.state not in FINISHED | {"failed"}:
            self._again.append(planned)
            return
        for step, value in stored.curve:
            self.measured(record.digest, step, {next(iter(self.space.objectives)): value})
        self.tell(record.digest, result.state, result.metrics)

    def _values(
        self, planned: PlannedTrial, state: State, metrics: Mapping[str, float]
    ) -> tuple[float, ...] | None:
        """The objectives, the worst there are of a diverged trial; None where the trial tells
        nothing.
        """
        worst = tuple(
            math.inf if direction == "minimize" else -math.inf
            for direction in self.space.objectives.values()
        )
        params = planned.params.as_dict()
        found = [
            metrics[name]
            if name in metrics
            else planned_value(name, params, planned.flops, planned.tokens)
            for name in self.space.objectives
        ]
        if state == "diverged" or any(value is not None and math.isnan(value) for value in found):
            return worst
        values = tuple(value for value in found if value is not None)
        return values if state in FINISHED and len(values) == len(found) else None

    def _report(self, asked: AskedTrial, step: int, values: Mapping[str, float]) -> None:
        """A value on the way to the pruner, each step once."""
        value = values.get(next(iter(self.space.objectives)), math.nan)
        if step not in asked.seen and not math.isnan(value):
            asked.seen.add(step)
            asked.trial.report(value, step)
            asked.is_enough = asked.is_enough or asked.trial.should_prune()


def _is_alike(trial: Mapping[str, Any], probe: Mapping[str, Any], space: Space) -> bool:
    """Whether a resolved trial could be one of the space, as far as a glance tells: it has what
    every trial of it has (see `probe`).
    """
    parts = ("task", "optim", "batch", "precision", "evaluation", "seed")
    searched = {path.partition(".")[0] for path in space.search}
    return all(trial.get(part) == probe[part] for part in parts if part not in searched)
