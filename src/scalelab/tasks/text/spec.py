"""Running text: what of a window is predicted."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count, Number
from scalelab.data.spec import TALES, Bytes, Corpus, Tokenizer, tokenizer_of
from scalelab.tasks.task import TaskShape, TaskSpec

if TYPE_CHECKING:
    from scalelab.families import Model


class Causal(Spec):
    """Each token is predicted from those before it."""

    kind: Literal["causal"] = "causal"


class Prefix(Spec):
    """The first part of a window is given, and sees itself in both directions; the rest is
    predicted (prefix LM; arXiv 1910.10683).
    """

    kind: Literal["prefix"] = "prefix"
    share: Annotated[Number, Field(gt=0, lt=1)] = 0.5
    """Largest share of a window that is given; how much is drawn for each window, uniformly."""


class Masked(Spec):
    """Some tokens are hidden, and predicted from all others (BERT, arXiv 1810.04805)."""

    kind: Literal["masked"] = "masked"
    share: Annotated[Number, Field(gt=0, lt=1)] = 0.15
    """Share of the positions that are predicted."""
    one: bool = False
    """Predict one token of each window at a time instead of a share."""
    hide: Annotated[Number, Field(ge=0, le=1)] = 0.8
    """Share of the predicted positions that show the mask token."""
    corrupt: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Share of the predicted positions that show a random token; the rest show themselves."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.hide + self.corrupt > 1:
            raise UserError(
                f"`hide` and `corrupt` are shares of the same positions, and {self.hide} +"
                f" {self.corrupt} is more than 1"
            )
        return self


class Text(TaskSpec):
    """Running text from shards."""

    main_metric: ClassVar[str] = "test_loss"
    sometimes: ClassVar[tuple[str, ...]] = (
        "bits_per_byte",
        "pseudo_perplexity",
        "test_loss_floor",
    )
    measures_routes: ClassVar[bool] = True
    measures_load: ClassVar[bool] = True
    has_running_text: ClassVar[bool] = True

    kind: Literal["text"] = "text"
    corpus: Corpus = Corpus()
    """The corpus: a name or a path, or a mapping."""
    tokens: Annotated[Tokenizer, Field()] = Bytes()
    """The tokenizer: `bytes`, `gpt2`, or a mapping with its `kind`."""
    context: Count = 256
    """Positions that a model runs over; a window holds one token more, which is only predicted."""
    documents: Literal["joined", "apart"] = "joined"
    """`joined`: a token sees what stands before it in its window, other documents too.

    `apart`: its own document alone (a block-diagonal mask).
    """
    objective: Annotated[
        Causal | Prefix | Masked, Field(discriminator="kind"), default_kind("causal")
    ] = Causal()
    """What is predicted: `causal`, `prefix` or `masked`."""
    shards: str | None = None
    """Digest of the prepared shards; the plan writes it down, so that other text is
    another trial.
    """

    def implied(self) -> frozenset[str]:
        """Shards have a digest of their tokens: from which file and by which tokenizer's file they
        came moves no number.
        """
        return frozenset() if self.shards is None else frozenset({"corpus", "tokens"})

    @property
    def predicts_all(self) -> bool:
        """Whether every token of a text is predicted, from all before it."""
        return self.objective.kind == "causal" and self.documents == "joined"

    def check_model(self, model: "Model") -> None:
        """The model sees what the objective shows."""
        model.check_text(self.objective.kind, self.documents)

    def settled(self, shape: TaskShape) -> Self:
        """The shards are written down: other text is another trial."""
        return self.model_copy(update={"shards": shape.shards})

    @property
    def measures(self) -> tuple[str, ...]:
        """Metrics of every evaluation, whatever the model."""
        return ("loss", "validation_loss")

    @property
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""
        always = (*self.measures, "test_loss", "perplexity", "flops_per_token")
        if self.predicts_all:
            floor = ("test_loss_floor",) if self.corpus.source == TALES else ()
            return (*always, "bits_per_byte", *floor)
        return (*always, "pseudo_perplexity") if self.objective.kind == "masked" else always

    @field_validator("corpus", mode="before")
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("tokens", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return tokenizer_of(value)

    @field_validator("objective", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value
