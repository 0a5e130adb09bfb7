"""CMA-ES."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scalelab.core.errors import UserError
from scalelab.core.units import Count
from scalelab.search.samplers.sampler import SamplerSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class Cmaes(SamplerSpec):
    """The covariance matrix adaptation evolution strategy over all numbers that have no condition;
    the rest is drawn at random.
    """

    replays: ClassVar[Literal["nothing", "own", "everything"]] = "own"

    kind: Literal["cmaes"] = "cmaes"
    population: Annotated[Count, Field(le=10_000)] | None = None
    """Trials of a generation; 4 + 3 log(number of paths) where it is not given."""

    def check(self, objectives: int, numbers: int) -> None:
        """It needs one objective, and two numbers to adapt."""
        if objectives > 1:
            raise UserError(
                f"the sampler `cmaes` minimises one number, and there are {objectives} objectives",
                cure="take `tpe`, `nsga2` or `gp`, or keep one objective",
            )
        if numbers < 2:
            raise UserError(
                "the sampler `cmaes` adapts ranges of numbers without conditions, and of these the"
                f" space has {numbers or 'none'}",
                cure="take `tpe`, or search two or more such paths",
            )

    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """See `SamplerSpec.build`."""
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(
            seed=seed,
            popsize=self.population,
            source_trials=_common_numbers(warm) or None,
            warn_independent_sampling=False,
        )


def _common_numbers(warm: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """The trials with only those numbers that all of them have: CMA-ES compares no others."""
    from optuna.trial import TrialState, create_trial

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
