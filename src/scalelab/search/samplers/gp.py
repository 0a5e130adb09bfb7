"""A Gaussian process."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from scalelab.core.units import Count
from scalelab.search.samplers.sampler import SamplerSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class Gp(SamplerSpec):
    """A Gaussian process and its expected improvement: for few, costly trials.

    It takes some tenths of a second for each.
    """

    is_windowed: ClassVar[bool] = True

    kind: Literal["gp"] = "gp"
    startup: Count = 10
    """Trials that are drawn at random first; a warm start counts."""

    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """See `SamplerSpec.build`."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=self.startup, warn_independent_sampling=False)
