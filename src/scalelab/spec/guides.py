"""Who guides a search: samplers, which propose trials, and pruners, which end them early."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count


class Tpe(Spec):
    """Tree-structured Parzen estimators: densities of good and of bad trials (Bergstra et al.
    2011), over all paths together that have no condition, and over each of the others for itself.
    """

    kind: Literal["tpe"] = "tpe"
    startup: Count = 10
    """Trials that are drawn at random first; a warm start counts."""


class Random(Spec):
    """Each path for itself, at random."""

    kind: Literal["random"] = "random"


class Gp(Spec):
    """A Gaussian process and its expected improvement: for few, costly trials.

    It takes some tenths of a second for each.
    """

    kind: Literal["gp"] = "gp"
    startup: Count = 10
    """Trials that are drawn at random first; a warm start counts."""


class Cmaes(Spec):
    """The covariance matrix adaptation evolution strategy over all numbers that have no condition;
    the rest is drawn at random.
    """

    kind: Literal["cmaes"] = "cmaes"
    population: Annotated[Count, Field(le=10_000)] | None = None
    """Trials of a generation; 4 + 3 log(number of paths) where it is not given."""


class Nsga2(Spec):
    """A genetic algorithm (Deb et al. 2002), made for several objectives."""

    kind: Literal["nsga2"] = "nsga2"
    population: Annotated[Count, Field(ge=2, le=10_000)] = 20
    """Trials of a generation."""


class NoPruner(Spec):
    """Every trial goes to its end."""

    kind: Literal["none"] = "none"


class Asha(Spec):
    """Asynchronous successive halving (arXiv 1810.05934): at `first`, `first` x `reduction`, ...
    steps the best part goes on.
    """

    kind: Literal["asha"] = "asha"
    reduction: Annotated[Count, Field(ge=2)] = 3
    """One trial in so many goes on."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""


class Hyperband(Spec):
    """Several ways to halve beside each other, from early to never (arXiv 1603.06560)."""

    kind: Literal["hyperband"] = "hyperband"
    reduction: Annotated[Count, Field(ge=2)] = 3
    """One trial in so many goes on."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""


class Median(Spec):
    """A trial ends where its best value so far is worse than the median of the others at the same
    step.
    """

    kind: Literal["median"] = "median"
    startup: Count = 5
    """Trials that go to their end first."""
    first: Count | None = None
    """The step at which trials are compared first; the first evaluation where it is not given."""


def _name_alone(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Sampler = Annotated[
    Tpe | Random | Gp | Cmaes | Nsga2,
    Field(discriminator="kind"),
    default_kind("tpe"),
    BeforeValidator(_name_alone),
]
"""Every sampler, told apart by `kind`; its name alone is enough."""

Pruner = Annotated[
    NoPruner | Asha | Hyperband | Median,
    Field(discriminator="kind"),
    default_kind("asha"),
    BeforeValidator(_name_alone),
]
"""Every pruner, told apart by `kind`; its name alone is enough."""
