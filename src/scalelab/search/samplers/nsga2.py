"""A genetic algorithm for several objectives."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scalelab.core.units import Count
from scalelab.search.samplers.sampler import SamplerSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class Nsga2(SamplerSpec):
    """A genetic algorithm (Deb et al. 2002), made for several objectives."""

    replays: ClassVar[Literal["nothing", "own", "everything"]] = "everything"

    kind: Literal["nsga2"] = "nsga2"
    population: Annotated[Count, Field(ge=2, le=10_000)] = 20
    """Trials of a generation."""

    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """See `SamplerSpec.build`."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population)
