"""Optuna's memory of a study, and the sampler of points that are known already."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial


class FixedPointSampler(BaseSampler):
    """Proposes one given point.

    An inner sampler, if there is one, samples too, so that it can keep its state as if it had
    proposed the point.
    """

    def __init__(self, parameters: dict[str, Any], inner: BaseSampler | None = None) -> None:
        self._parameters, self._inner = parameters, inner

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled together."""
        if self._inner is not None:
            self._inner.sample_relative(
                study, trial, self._inner.infer_relative_search_space(study, trial)
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


class WindowedStorage(InMemoryStorage):
    """Trials in memory, of which the last one can be taken back and some can be hidden."""

    def __init__(self) -> None:
        super().__init__()
        self._window: tuple[list[int], int] | None = None

    def take_back(self, trial: Trial) -> None:
        """Forget the study's last trial as if it had not been proposed."""
        study, number = self._trial_id_to_study_id_and_number.pop(trial._trial_id)
        trials = self._studies[study].trials
        assert number == len(trials) - 1, "only the last trial leaves no gap"
        trials.pop()

    @contextmanager
    def window(self, kept: Sequence[int], since: int) -> Iterator[None]:
        """Inside, there are only the trials from a number on, and before it those that are kept."""
        self._window = sorted(kept), since
        try:
            yield
        finally:
            self._window = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        """The trials that are shown."""
        if self._window is None:
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        kept, since = self._window
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
