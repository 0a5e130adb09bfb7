"""Text: corpora, tokenizers, and what of a window is predicted."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count, Number, Whole


class Bytes(Spec):
    """The 256 bytes of UTF-8, and an end of document."""

    kind: Literal["bytes"] = "bytes"


class Tiktoken(Spec):
    """A byte-pair encoding that tiktoken reads."""

    kind: Literal["tiktoken"] = "tiktoken"
    encoding: str = "gpt2"
    """Name of the encoding: `gpt2`, `cl100k_base`, `o200k_base`..."""
    folder: str | None = None
    """For `gpt2`: a folder with its two files, `vocab.bpe` and `encoder.json`; without it
    tiktoken's own cache, or a download.
    """


class HuggingFace(Spec):
    """A tokenizer of the Hugging Face library `tokenizers`: loaded, or trained on the corpus."""

    kind: Literal["huggingface"] = "huggingface"
    source: str | None = None
    """A `tokenizer.json`, or the hub's name of a model that has one."""
    train: Annotated[Count, Field(le=1_000_000)] | None = None
    """Train a byte-level BPE of this many tokens on the training split instead."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.source is None) == (self.train is None):
            raise ValueError(
                "a Hugging Face tokenizer is loaded or trained; give `source` (a file or a name) or"
                " `train` (a vocabulary)"
            )
        return self


class SentencePiece(Spec):
    """A SentencePiece model."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    model: str
    """The `.model` file."""


def _named(value: Any) -> Any:
    """`bytes` and `gpt2` are short for a mapping."""
    short = {"bytes": {"kind": "bytes"}, "gpt2": {"kind": "tiktoken", "encoding": "gpt2"}}
    if isinstance(value, str) and value not in short:
        raise ValueError(
            f"{value!r} names no tokenizer; write `bytes`, `gpt2`, or a mapping such as {{kind:"
            " huggingface, train: 8192}"
        )
    return short[value] if isinstance(value, str) else value


Tokenizer = Annotated[
    Bytes | Tiktoken | HuggingFace | SentencePiece,
    Field(discriminator="kind"),
    default_kind("bytes"),
]
"""Every tokenizer, told apart by `kind`."""


TALES = "tales"
"""The embedded corpus."""


class Corpus(Spec):
    """Where text comes from, and how it is split. `scalelab data prepare` turns it into shards."""

    recipe: ClassVar[int] = 2
    """1: the source was `shakespeare` where none was named."""

    source: str = "tales"
    """A name (`tales`, `shakespeare`, `wikitext103`, `smollm`), a path (text, JSON or Parquet; a
    file or a folder), or a Hugging Face data set id. `tales` is embedded: short stories from a
    grammar whose entropy is known. The other names are downloaded.
    """
    field: str = "text"
    """The field of a JSON or Parquet row that holds the text."""
    tokens: Count | None = None
    """Tokens to prepare at most: a long corpus is streamed up to here."""
    validation: Annotated[Number, Field(gt=0, lt=0.5)] = 0.05
    """Share of the text held out for evaluation while a model trains, and as much again for the
    test at the end, where the corpus has no such splits of its own.
    """
    split: Whole = 0
    """Seed of the split."""


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
            raise ValueError(
                f"`hide` and `corrupt` are shares of the same positions, and {self.hide} +"
                f" {self.corrupt} is more than 1"
            )
        return self


class Text(Spec):
    """Running text from shards."""

    measures: ClassVar[tuple[str, ...]] = ("loss", "validation_loss")
    """Metrics of every evaluation, whatever the model."""
    sometimes: ClassVar[tuple[str, ...]] = (
        "bits_per_byte",
        "pseudo_perplexity",
        "test_loss_floor",
    )
    """Metrics that only some trials end with."""
    knows_used: ClassVar[bool] = False
    """Whether it tells which tokens occur, so that `params.used` is known."""

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
        return _named(value)

    @field_validator("objective", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class Arithmetic(Spec):
    """Sums as bytes: `12+7=19`, and an end. How far does what is learned carry to
    longer numbers?
    """

    measures: ClassVar[tuple[str, ...]] = (
        "loss",
        "accuracy",
        "accuracy_questions",
        "validation_loss",
    )
    """Metrics of every evaluation, whatever the model."""
    sometimes: ClassVar[tuple[str, ...]] = ("accuracy_longer",)
    """Metrics that only some trials end with."""
    knows_used: ClassVar[bool] = True
    """Whether it tells which tokens occur, so that `params.used` is known."""

    kind: Literal["arithmetic"] = "arithmetic"
    operation: Literal["addition", "multiplication", "chain"] = "addition"
    """`addition` and `multiplication` of two numbers; `chain`: one-digit steps (+, -, *) modulo 10
    from left to right.
    """
    length: Count = 3
    """Most digits of a number (or operations of a chain) that are trained on; examples are drawn
    evenly from 1 to here.
    """
    longest: Count = 5
    """Lengths beyond `length` and up to here are tested, and never trained on."""
    reversed: bool = False
    """Write answers with the last digit first (arXiv 2307.03381)."""
    context: Count | None = None
    """Tokens in a window: the longest example where it is not given."""
    world: Whole = 0
    """Which examples are held out for the test."""

    @property
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""
        by_length = [f"accuracy_{length}" for length in range(1, self.longest + 1)]
        longer = ["accuracy_longer"] if self.longest > self.length else []
        return (*self.measures, *by_length, *longer, "flops_per_token")

    @model_validator(mode="after")
    def _lengths_ascend(self) -> Self:
        if self.longest < self.length:
            raise ValueError(
                f"`longest` ({self.longest}) is below `length` ({self.length}); it is the longest"
                " that is tested, trained on or not"
            )
        return self
