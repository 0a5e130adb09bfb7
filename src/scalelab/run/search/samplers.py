"""Optuna's samplers and pruners by the specs that ask for them, and the memory that
they work on.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna import Study, Trial, pruners, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from scalelab.run.search.distributions import parameter
from scalelab.spec.conditions import Search
from scalelab.spec.guides import (
    Asha,
    Cmaes,
    Gp,
    Hyperband,
    Median,
    NoPruner,
    Nsga2,
    Pruner,
    Random,
    Sampler,
    Tpe,
)

BEST, LATEST = 40, 60
"""How many trials TPE and GP model: the best ones (of several objectives those on the front), and
the latest of the others.

TPE calls 25 trials good at most, and of the others the oldest count least; a model of all of them
takes ever longer.
"""


def build_sampler(
    spec: Sampler, seed: int, search: Search, warm: Sequence[FrozenTrial]
) -> samplers.BaseSampler:
    """A fresh sampler: what it proposes depends on its seed and on the study's trials alone.

    `warm` are trials from elsewhere.
    """
    with quiet():
        match spec:
            case Tpe():
                return _Tpe(seed, spec.startup, search)
            case Random():
                return samplers.RandomSampler(seed=seed)
            case Gp():
                return samplers.GPSampler(
                    seed=seed, n_startup_trials=spec.startup, warn_independent_sampling=False
                )
            case Cmaes():
                sources = _numbers(warm)
                return samplers.CmaEsSampler(
                    seed=seed,
                    popsize=spec.population,
                    source_trials=sources or None,
                    warn_independent_sampling=False,
                )
            case Nsga2():
                return samplers.NSGAIISampler(seed=seed, population_size=spec.population)


class _Tpe(samplers.TPESampler):
    """TPE that need not look through its trials for the paths that all of them have: those without
    a condition.
    """

    def __init__(self, seed: int, startup: int, search: Search) -> None:
        super().__init__(seed=seed, n_startup_trials=startup, multivariate=True)
        together = {
            path: parameter(given) for path, given in sorted(search.items()) if not given.when
        }
        self._together = {
            path: distribution
            for path, distribution in together.items()
            if not distribution.single()
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is sampled together."""
        return self._together


def _numbers(warm: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with those of their numbers alone that all of them have: CMA-ES compares no
    others.
    """
    complete = [trial for trial in warm if trial.state == TrialState.COMPLETE]
    if len(complete) < 2:
        return []
    common = set.intersection(*(set(trial.params) for trial in complete))
    numeric = sorted(name for name in common if isinstance(complete[0].params[name], int | float))
    return [
        create_trial(
            params={name: trial.params[name] for name in numeric},
            distributions={name: trial.distributions[name] for name in numeric},
            value=trial.value,
        )
        for trial in complete
    ]


def build_pruner(spec: Pruner, first: int, last: int) -> pruners.BasePruner:
    """The pruner; `first` is the step of the first evaluation, `last` that of the last one."""
    first = first if isinstance(spec, NoPruner) or spec.first is None else spec.first
    match spec:
        case NoPruner():
            return pruners.NopPruner()
        case Asha():
            return pruners.SuccessiveHalvingPruner(
                min_resource=first, reduction_factor=spec.reduction
            )
        case Hyperband():
            return pruners.HyperbandPruner(
                min_resource=first, max_resource=max(first, last), reduction_factor=spec.reduction
            )
        case Median():
            return pruners.MedianPruner(n_startup_trials=spec.startup, n_warmup_steps=first)


class Given(samplers.BaseSampler):
    """Proposes one point that is known already.

    With a sampler inside this one keeps its books as if it had proposed the point.
    """

    def __init__(
        self, parameters: dict[str, Any], inside: samplers.BaseSampler | None = None
    ) -> None:
        self._parameters, self._inside = parameters, inside

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled together."""
        if self._inside is not None:
            self._inside.sample_relative(
                study, trial, self._inside.infer_relative_search_space(study, trial)
            )
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The known value."""
        return self._parameters[param_name]


class Memory(InMemoryStorage):
    """Trials in memory.

    The last one can be taken back, and a sampler can be shown a part of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[list[int], int] | None = None

    def take_back(self, trial: Trial) -> None:
        """Forget the study's last trial as if it had not been proposed."""
        study, number = self._trial_id_to_study_id_and_number.pop(trial._trial_id)
        trials = self._studies[study].trials
        assert number == len(trials) - 1, "only the last trial leaves no gap"
        trials.pop()

    @contextmanager
    def showing(self, kept: Sequence[int], since: int) -> Iterator[None]:
        """Inside, there are only the trials from a number on, and before it those that are kept."""
        self._shown = sorted(kept), since
        try:
            yield
        finally:
            self._shown = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        """The trials that are shown."""
        if self._shown is None:
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        kept, since = self._shown
        trials = self._studies[study_id].trials
        found = [
            trial
            for trial in (*(trials[number] for number in kept), *trials[since:])
            if states is None or trial.state in states
        ]
        return copy.deepcopy(found) if deepcopy else found


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings of what it calls experimental, and of values that it clips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", module=r"optuna\.")
        yield
