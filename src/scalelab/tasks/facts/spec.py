"""Facts about people, recalled from the weights or through a tool."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scalelab.core.units import Count, Number, Whole
from scalelab.tasks.task import TaskSpec

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


class Facts(TaskSpec):
    """Questions about people with four attributes each, answered from the weights or through a
    database.
    """

    main_metric: ClassVar[str] = "recall"
    sometimes: ClassVar[tuple[str, ...]] = ("recall_permuted",)
    temperature: ClassVar[float] = 0.0

    kind: Literal["facts"] = "facts"
    people: Count = 16
    """Number of people; each has four facts."""
    recall: Literal["in_weight", "in_tool"] = "in_weight"
    """`in_weight`: the answer is stored in the parameters.

    `in_tool`: the model writes an SQL query and copies the result.
    """
    templates: Annotated[Count, Field(le=4)] = 4
    """Question templates for each attribute; one is drawn at each exposure, recall asks every fact
    with every one.
    """
    dependence: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Share of the facts that follow from the person's family name: 0, independent facts; 1, facts
    that compress fully.
    """
    world: Whole = 0
    """Which assignment of names and values; person i is the same for every number of people and on
    every machine.
    """
    context: Count | None = None
    """Tokens in a window: the longest dialog where it is not given.

    A context too short for it is an error.
    """

    @property
    def measures(self) -> tuple[str, ...]:
        """Metrics of every evaluation, whatever the model."""
        exchanged = self.recall == "in_tool" and self.people > 1
        always = ("loss", "recall", "bits_per_fact", "recall_unseen")
        return (*always, "recall_permuted") if exchanged else always

    @property
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""
        return (*self.measures, "chance", "bits", "bits_max")

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: bits of dependent facts count what follows from the family name once."""
        return 2 if self.dependence > 0 else 1
