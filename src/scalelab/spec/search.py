"""Searches: which of the planned trials are run, and in which order."""

from typing import Annotated, Literal

from pydantic import Field

from scalelab.core.spec import Spec, default_kind
from scalelab.spec.evaluation import Threshold


class Grid(Spec):
    """Every planned trial."""

    kind: Literal["grid"] = "grid"


class Frontier(Threshold):
    """For each cell the smallest size that passes, by galloping from the last cell's answer and
    bisecting, then by a second look at smaller sizes where other replicates passed.
    """

    kind: Literal["frontier"] = "frontier"
    size: str = "model.width"
    """The axis that is searched; its values are ordered by the parameters they make."""
    along: str = "task.people"
    """The axis along which an answer is the next one's first guess."""
    metric: str = "recall"
    """The final metric that decides, of those that a trial ends with: `recall`, `recall_unseen`,
    `recall_permuted` (in-tool), `bits`, `bits_per_fact`...; for text `test_loss`...
    """


Search = Annotated[Grid | Frontier, Field(discriminator="kind"), default_kind("grid")]
"""Every search, told apart by `kind`."""
