"""Samplers, which propose the trials of `optimize`: one file each (see `samplers.sampler`), and one
entry in `Sampler`.
"""

from typing import Annotated

from pydantic import Field

from scalelab.core.spec import default_kind, kind_alone
from scalelab.search.samplers.cmaes import Cmaes
from scalelab.search.samplers.gp import Gp
from scalelab.search.samplers.nsga2 import Nsga2
from scalelab.search.samplers.random import Random
from scalelab.search.samplers.sampler import SamplerSpec
from scalelab.search.samplers.tpe import Tpe

__all__ = ["Cmaes", "Gp", "Nsga2", "Random", "Sampler", "SamplerSpec", "Tpe"]

Sampler = Annotated[
    Tpe  # the default
    | Random
    | Gp
    | Cmaes
    | Nsga2,
    Field(discriminator="kind"),
    default_kind("tpe"),
    kind_alone(),
]
"""The options of a sampler, told apart by `kind`; the kind alone is enough."""
