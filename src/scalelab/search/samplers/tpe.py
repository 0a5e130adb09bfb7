"""Tree-structured Parzen estimators."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

from scalelab.core.units import Count
from scalelab.search.samplers.sampler import SamplerSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, TPESampler
    from optuna.trial import FrozenTrial


class Tpe(SamplerSpec):
    """Tree-structured Parzen estimators: densities of good and of bad trials (Bergstra et al.
    2011), over all paths together that have no condition, and over each of the others for itself.
    """

    is_windowed: ClassVar[bool] = True

    kind: Literal["tpe"] = "tpe"
    startup: Count = 10
    """Trials that are drawn at random first; a warm start counts."""

    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """See `SamplerSpec.build`."""
        together = {
            path: distribution
            for path, distribution in unconditional.items()
            if not distribution.single()
        }
        return _tpe_class()(seed, self.startup, together)


@cache
def _tpe_class() -> "Callable[[int, int, dict[str, BaseDistribution]], TPESampler]":
    """TPE that is told which paths all trials have, and need not intersect the trials."""
    from optuna.samplers import TPESampler

    class KnownSpaceTpe(TPESampler):
        def __init__(
            self, seed: int, startup: int, together: "dict[str, BaseDistribution]"
        ) -> None:
            super().__init__(seed=seed, n_startup_trials=startup, multivariate=True)
            self._together = together

        def infer_relative_search_space(
            self, study: "Study", trial: "FrozenTrial"
        ) -> "dict[str, BaseDistribution]":
            return self._together

    return KnownSpaceTpe
