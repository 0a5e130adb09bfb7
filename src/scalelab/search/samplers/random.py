"""Random search."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from scalelab.search.samplers.sampler import SamplerSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class Random(SamplerSpec):
    """Each path for itself, at random."""

    kind: Literal["random"] = "random"

    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """See `SamplerSpec.build`."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)
