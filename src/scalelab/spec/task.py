"""Tasks: what a user may say of the data. Each class here has its generator in `data/`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scalelab.core.units import Count, Number
from scalelab.spec.base import Spec


class Facts(Spec):
    """Questions about people with four attributes each, answered from the weights or through a database."""

    measures: ClassVar[tuple[str, ...]] = ("recall", "bits_per_fact")
    """Metrics of every evaluation: an early stop may watch them."""
    concludes: ClassVar[tuple[str, ...]] = ("recall", "recall_unseen", "recall_permuted", "bits", "bits_per_fact")
    """Metrics of a trial's end: a search may decide by them."""

    kind: Literal["facts"] = "facts"
    people: Count = 16
    """Number of people; each has four facts."""
    recall: Literal["in_weight", "in_tool"] = "in_weight"
    """`in_weight`: the answer is stored in the parameters. `in_tool`: the model writes an SQL query and copies the result."""
    templates: Annotated[Count, Field(le=4)] = 4
    """Question templates for each attribute; one is drawn at each exposure, recall asks every fact with every one."""
    dependence: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Share of the facts that follow from the person's family name: 0, independent facts; 1, facts that compress fully."""
    world: Annotated[int, Field(ge=0)] = 0
    """Which assignment of names and values; person i is the same for every number of people and on every machine."""
    context: Count | None = None
    """Tokens in a window: the longest dialog where it is not given. A context too short for it is an error."""


Task = Facts
"""Every task, told apart by `kind`."""
