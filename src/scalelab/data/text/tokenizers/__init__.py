"""Tokenizers: text to ids below a vocabulary and back, one module for each kind of the spec."""

from collections.abc import Iterable

from scalelab.data import spec
from scalelab.data.text.tokenizers.bytes import Bytes
from scalelab.data.text.tokenizers.huggingface import open_huggingface, train_huggingface
from scalelab.data.text.tokenizers.protocol import Ids, Tokenizer
from scalelab.data.text.tokenizers.sentencepiece import open_sentencepiece
from scalelab.data.text.tokenizers.tiktoken import open_tiktoken

__all__ = ["Ids", "Tokenizer", "is_trained", "open_tokenizer", "train"]


def open_tokenizer(given: spec.Tokenizer, folder: str | None = None) -> Tokenizer:
    """The tokenizer of a spec; one that is trained on its corpus lies in the corpus's prepared
    `folder` (a path or a URL).

    Raises UserError, with the cure, where a file is missing or malformed or can't be downloaded.
    """
    match given:
        case spec.Bytes():
            return Bytes()
        case spec.Tiktoken():
            return open_tiktoken(given)
        case spec.HuggingFace():
            return open_huggingface(given, folder)
        case spec.SentencePiece():
            return open_sentencepiece(given)


def is_trained(given: spec.Tokenizer) -> bool:
    """Whether the tokenizer is made from its corpus, and so has to be trained before the corpus can
    be encoded.
    """
    return isinstance(given, spec.HuggingFace) and given.train is not None


def train(given: spec.Tokenizer, documents: Iterable[str], folder: str) -> Tokenizer:
    """Train the tokenizer of a spec (see `is_trained`) on some documents, and save it in a local
    folder, where `open_tokenizer` finds it.

    The same documents give the same tokenizer. Raises UserError where the vocabulary asked for is
    too small.
    """
    assert isinstance(given, spec.HuggingFace), f"{given.kind} is not trained here"
    return train_huggingface(given, documents, folder)
