"""How a corpus and its tokenizer are written on a command line, and the name of the folder that
they are prepared in.
"""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.locations import child, expanded
from scalelab.data.spec import Bytes, Corpus, HuggingFace, SentencePiece, Tiktoken, Tokenizer

if TYPE_CHECKING:
    from scalelab.tasks.text.spec import Text

LAYOUT = 1
"""Raised when the same text would be prepared to other shards."""

KINDS = (
    "`bytes`, `gpt2`, `gpt2:FOLDER` with its files, `tiktoken:NAME`, `bpe:8192` (trained on the"
    " corpus), FILE.json, hub:NAME or FILE.model"
)


def parse_tokenizer(text: str) -> Tokenizer:
    """What `--tokens` says. Raises UserError for anything else."""
    name, _, value = text.partition(":")
    try:
        if text == "bytes":
            return Bytes()
        if name == "gpt2":
            return Tiktoken(folder=value or None)
        if name == "tiktoken" and value:
            return Tiktoken(encoding=value)
        if name == "bpe" and value:
            return HuggingFace.model_validate({"train": value})
        if name == "hub" and value:
            return HuggingFace(source=value)
    except ValidationError as error:
        raise UserError(
            f"`{text}` is no tokenizer", cure="write a vocabulary like bpe:8192", where="--tokens"
        ) from error
    if Path(text).suffix == ".json":
        return HuggingFace(source=text)
    if Path(text).suffix == ".model":
        return SentencePiece(model=text)
    raise UserError(f"`{text}` is no tokenizer", cure=f"take {KINDS}", where="--tokens")


def written(tokens: Tokenizer) -> str:
    """What `parse_tokenizer` reads as this tokenizer."""
    match tokens:
        case Bytes():
            return "bytes"
        case Tiktoken(encoding="gpt2", folder=folder):
            return f"gpt2:{folder}" if folder else "gpt2"
        case Tiktoken():
            return f"tiktoken:{tokens.encoding}"
        case HuggingFace(source=None):
            return f"bpe:{tokens.train}"
        case HuggingFace(source=str(source)):
            return source if source.endswith(".json") else f"hub:{source}"
        case SentencePiece():
            return tokens.model
    raise AssertionError(tokens)


def command(corpus: Corpus, tokens: Tokenizer, folder: str) -> str:
    """The command that prepares a corpus; what has its default is left out."""
    given: dict[str, Any] = {
        "--tokens": (written(tokens), "bytes"),
        "--limit": (corpus.tokens, None),
        "--field": (corpus.field, Corpus.model_fields["field"].default),
        "--validation": (corpus.validation, Corpus.model_fields["validation"].default),
        "--split-seed": (corpus.split, 0),
        "--folder": (folder, "results/data"),
    }
    options = [
        part
        for name, (value, default) in given.items()
        if value != default
        for part in (name, str(value))
    ]
    return shlex.join(["scalelab", "data", "prepare", corpus.source, *options])


def home(corpus: Corpus, tokens: Tokenizer, folder: str) -> str:
    """Where a corpus lies when it is prepared: in a folder of its own, by what was asked for.

    A path is the same with `~` or `$NAME` in it and without. Raises UserError as `expanded` does.
    """
    source = expanded(corpus.source)
    asked = {
        "layout": LAYOUT,
        "corpus": {
            **corpus.model_dump(mode="json", exclude_defaults=True),
            "source": source,
        },
        "tokens": {"kind": tokens.kind, **tokens.model_dump(mode="json", exclude_defaults=True)},
    }
    words = re.findall(r"[a-z0-9]+", Path(source.partition(":")[0]).stem.lower())
    name = "-".join(words)[:40] or "corpus"
    return child(folder, f"{name}-{sha256(asked)[:8]}")


def home_of(task: "Text", folder: str) -> str:
    """Where the corpus of a task lies."""
    return home(task.corpus, task.tokens, folder)
