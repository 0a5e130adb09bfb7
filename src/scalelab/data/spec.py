"""What a spec says of text: tokenizers and corpora."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.errors import UserError
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
            raise UserError(
                "a Hugging Face tokenizer is loaded or trained",
                cure="give `source` (a file or a name) or `train` (a vocabulary)",
            )
        return self


class SentencePiece(Spec):
    """A SentencePiece model."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    model: str
    """The `.model` file."""


def tokenizer_of(value: Any) -> Any:
    """`bytes` and `gpt2` are short for a mapping."""
    short = {"bytes": {"kind": "bytes"}, "gpt2": {"kind": "tiktoken", "encoding": "gpt2"}}
    if isinstance(value, str) and value not in short:
        raise UserError(
            f"{value!r} names no tokenizer",
            cure="write `bytes`, `gpt2`, or a mapping such as {kind: huggingface, train: 8192}",
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
