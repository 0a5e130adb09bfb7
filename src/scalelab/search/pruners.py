"""Pruners, which end the trials of `optimize` early: a class each, and one entry in `Pruner`."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scalelab.core.spec import Spec, default_kind, kind_alone
from scalelab.core.units import Count

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


class PrunerSpec(Spec):
    """The options of a pruner. Subclasses have a field `kind` with their name."""

    compares: ClassVar[bool] = True
    """Whether it compares the evaluations of running trials: an evaluation must then measure the
    objective, of which there can be only one.
    """

    @abstractmethod
    def build(self, first: int, last: int) -> "BasePruner":
        """Optuna's pruner. `first` is the step of the first evaluation, `last` of the last one."""


class NoPruner(PrunerSpec):
    """Every trial goes to its end."""

    compares: ClassVar[bool] = False

    kind: Literal["none"] = "none"

    def build(self, first: int, last: int) -> "BasePruner":
        """See `PrunerSpec.build`."""
        from optuna.pruners import NopPruner

        return NopPruner()


class Asha(PrunerSpec):
    """Asynchronous successive halving (arXiv 1810.05934): at `first`, `first` x `reduction`, ...
    steps the best part goes on.
    """

    kind: Literal["asha"] = "asha"
    reduction: Annotated[Count, Field(ge=2)] = 3
    """One trial in so many goes on."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""

    def build(self, first: int, last: int) -> "BasePruner":
        """See `PrunerSpec.build`."""
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(
            min_resource=self.first or first, reduction_factor=self.reduction
        )


class Hyperband(PrunerSpec):
    """Several ways to halve beside each other, from early to never (arXiv 1603.06560)."""

    kind: Literal["hyperband"] = "hyperband"
    reduction: Annotated[Count, Field(ge=2)] = 3
    """One trial in so many goes on."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""

    def build(self, first: int, last: int) -> "BasePruner":
        """See `PrunerSpec.build`."""
        from optuna.pruners import HyperbandPruner

        first = self.first or first
        return HyperbandPruner(
            min_resource=first, max_resource=max(first, last), reduction_factor=self.reduction
        )


class Median(PrunerSpec):
    """A trial ends where its best value so far is worse than the median of the others at the same
    step.
    """

    kind: Literal["median"] = "median"
    startup: Count = 5
    """Trials that go to their end first."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""

    def build(self, first: int, last: int) -> "BasePruner":
        """See `PrunerSpec.build`."""
        from optuna.pruners import MedianPruner

        return MedianPruner(n_startup_trials=self.startup, n_warmup_steps=self.first or first)


Pruner = Annotated[
    NoPruner | Asha | Hyperband | Median,
    Field(discriminator="kind"),
    default_kind("asha"),
    kind_alone(),
]
"""The options of a pruner, told apart by `kind`; the kind alone is enough."""
