"""Biographies learned by heart."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count, Number, Whole
from scalelab.tasks.task import TaskSpec

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


class BioS(Spec):
    """Six sentences about a person; templates and their order are drawn anew at each exposure
    (arXiv 2404.05405, bioS).
    """

    kind: Literal["bioS"] = "bioS"
    templates: Annotated[Count, Field(le=50)] = 50
    """Sentence templates for each attribute."""


class BioSSimple(Spec):
    """One biography for each person: templates and order are drawn once (arXiv 2404.05405,
    bioS_simple).
    """

    kind: Literal["bioS_simple"] = "bioS_simple"
    templates: Annotated[Count, Field(le=50)] = 50
    """Sentence templates for each attribute."""


MOST_SYMBOLS = 50_000_000
"""Symbols in all diversity sets of bioD."""


class BioD(Spec):
    """Attributes whose values are strings of their own; sentences in random order (arXiv
    2404.05405, bioD).
    """

    kind: Literal["bioD"] = "bioD"
    attributes: Annotated[Count, Field(le=100)] = 5
    """K: attributes of a person, `ID 1` to `ID K`."""
    chunks: Annotated[Count, Field(le=100)] = 1
    """C: strings in a value, each drawn from the attribute's diversity set."""
    diversity: Annotated[Count, Field(le=1_000_000)] = 100
    """D: distinct strings in an attribute's diversity set."""
    length: Annotated[Count, Field(le=1_000)] = 2
    """L: symbols in a string."""
    alphabet: Annotated[Count, Field(le=60_000)] = 100
    """T: symbols to choose from."""

    @model_validator(mode="after")
    def _sets_exist(self) -> Self:
        if self.diversity > self.alphabet**self.length:
            raise UserError(
                f"there are no {self.diversity} distinct strings of {self.length} out of"
                f" {self.alphabet} symbols",
                cure="take a smaller `diversity`, or a larger `length` or `alphabet`",
            )
        if self.attributes * self.diversity * self.length > MOST_SYMBOLS:
            raise UserError(
                f"the diversity sets hold more than {MOST_SYMBOLS:,} symbols",
                cure="take fewer or shorter strings",
            )
        return self

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: bits leave out the strings of a diversity set that no value shows.

        Each string stays out with a probability of about exp(-draws / diversity). Beyond this
        number of draws all are shown, but for one data set in e^20, and no number has changed.
        """
        assert isinstance(trial.task, Biography)
        strings = self.attributes * self.diversity
        draws = trial.task.people * self.chunks
        return 2 if draws < self.diversity * (math.log(strings) + 20) else 1


class Junk(Spec):
    """Windows about other people between the useful ones; a window is all useful or all junk."""

    useful: Annotated[Number, Field(ge=0.001, lt=1)] = 0.125
    """Share of the windows that are useful."""
    people: Count = 100_000_000
    """Number of people that junk is about: many are hardly seen twice, few make repetitive junk."""
    domain_token: bool = False
    """Whether a token in front of every useful biography tells it from junk."""


class Biography(TaskSpec):
    """Biographies learned by heart, packed into windows: how many bits does a model hold (arXiv
    2404.05405)?
    """

    main_metric: ClassVar[str] = "bits_per_param"
    sometimes: ClassVar[tuple[str, ...]] = ("first_nats",)
    knows_used: ClassVar[bool] = True

    kind: Literal["biography"] = "biography"
    people: Count = 100
    """Number of people; an exposure shows one biography of each."""
    text: Annotated[BioS | BioSSimple | BioD, Field(discriminator="kind"), default_kind("bioS")] = (
        BioS()
    )
    """What a biography says: `bioS`, `bioS_simple` or `bioD`."""
    junk: Junk | None = None
    """Windows about other people in between; `null` for none."""
    tokens: Literal["words", "bytes", "gpt2"] = "words"
    """`words`: the words of the templates and pools.

    `bytes`: the 256 bytes. `gpt2`: GPT-2's tokenizer, from tiktoken's cache or the folder that the
    environment variable SCALELAB_GPT2 names.
    """
    context: Count = 512
    """Tokens in a window. It holds a whole biography."""
    world: Whole = 0
    """Which assignment of names and values; person i is the same for every number of people and on
    every machine.
    """

    @property
    def measures(self) -> tuple[str, ...]:
        """Metrics of every evaluation, whatever the model."""
        bits = ("bits", "bits_per_param", "bits_per_param_total", "bits_max", "share")
        always = ("loss", *bits, "name_nats", "value_nats", "recall")
        return (*always, "first_nats") if self.text.kind == "bioD" else always

    @property
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""
        return self.measures
