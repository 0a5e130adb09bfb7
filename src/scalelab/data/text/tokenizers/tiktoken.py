"""Byte-pair encodings that tiktoken knows, and GPT-2's from its two files.

GPT-2 is looked for in the `folder` of the spec, then in the folder that the environment variable
SCALELAB_GPT2 names, then in tiktoken's own cache (TIKTOKEN_CACHE_DIR, or a folder for temporary
files), and is downloaded there where it is in none of them. Its two files, `vocab.bpe` and
`encoder.json`, are those of openai/gpt-2; tiktoken's cache names them by a digest.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError, nearest
from scalelab.core.locations import child, expanded
from scalelab.data import spec
from scalelab.data.text.tokenizers.files import malformed, read
from scalelab.data.text.tokenizers.protocol import Ids, spoken, well_formed

if TYPE_CHECKING:
    from tiktoken import Encoding

FOLDER = "SCALELAB_GPT2"
"""The environment variable that may name a folder with GPT-2's two files."""

END = "<|endoftext|>"

PUBLISHED = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}
"""The sha256 of GPT-2's files, as tiktoken has them too."""


class Tiktoken:
    """A byte-pair encoding."""

    def __init__(self, encoding: "Encoding") -> None:
        self._encoding = encoding
        special = encoding._special_tokens
        self.eos = special.get(END, encoding.n_vocab)
        self.vocab = max(encoding.n_vocab, self.eos + 1)
        ranks = {token.hex(): rank for token, rank in encoding._mergeable_ranks.items()}
        self.digest = sha256(
            {"kind": "tiktoken", "eos": self.eos, "pattern": encoding._pat_str, "ranks": ranks}
        )

    def encode(self, text: str) -> Ids:
        return self._encoding.encode_to_numpy(well_formed(text), disallowed_special=()).astype(
            np.int32
        )

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        # tiktoken's own batches are slower on one core: they go through lists of Python's integers.
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self._bytes_of, spoken(self, ids))).decode(errors="replace")

    def _bytes_of(self, token: int) -> bytes:
        try:
            return self._encoding.decode_single_token_bytes(token)
        except KeyError:
            return b""  # some encodings have gaps between their special tokens


def open_tiktoken(given: spec.Tiktoken) -> Tiktoken:
    """The encoding that a spec names; see the module for where GPT-2 is looked for.

    Raises UserError where it isn't to be had.
    """
    if given.folder is not None and given.encoding != "gpt2":
        raise UserError(
            f"a folder holds the files of `gpt2`, not of `{given.encoding}`",
            cure="leave `folder` or `encoding` out",
        )
    named = os.environ.get(FOLDER) if given.encoding == "gpt2" and given.folder is None else None
    if given.folder is None and not named:
        return _known(given.encoding)
    folder = expanded(given.folder) if given.folder else expanded(named or "", FOLDER)
    return _from_files(folder, published=given.folder is None)


def _known(name: str) -> Tiktoken:
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        raise UserError(
            f"tiktoken knows no encoding `{name}`",
            cure=nearest(name, tiktoken.list_encoding_names()),
        )
    try:
        return Tiktoken(tiktoken.get_encoding(name))
    except (OSError, ValueError) as error:  # what `requests` raises is an OSError
        files = (
            "put GPT-2's `vocab.bpe` and `encoder.json` into a folder and name it in the"
            f" environment variable {FOLDER}, or "
        )
        raise UserError(
            f"the encoding `{name}` is not in tiktoken's cache, and its download failed"
            f" ({type(error).__name__})",
            cure=(
                f"{files if name == 'gpt2' else ''}run once with a network, or name a filled cache"
                " in TIKTOKEN_CACHE_DIR"
            ),
        ) from error


@lru_cache(maxsize=4)
def _from_files(folder: str, *, published: bool) -> Tiktoken:
    """The encoding of `vocab.bpe` and `encoder.json`: GPT-2 itself, where it has to be what is
    published, or one in its form.
    """
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    cure = (
        "name a folder with `vocab.bpe` and `encoder.json` in"
        f" {FOLDER if published else '`folder`'}"
    )
    contents = {name: read(child(folder, name), cure) for name in PUBLISHED}
    for name, content in contents.items():
        if published and hashlib.sha256(content).hexdigest() != PUBLISHED[name]:
            raise malformed(
                child(folder, name),
                "its sha256 is another one",
                f"the file `{name}` that openai/gpt-2 publishes",
            )
    try:
        ids = json.loads(contents["encoder.json"])
        ranks = _ranks(contents["vocab.bpe"].decode(), ids)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(
            folder, error, "the two files `vocab.bpe` and `encoder.json` of one tokenizer"
        ) from error
    end = ids.get(END, max(ranks.values()) + 1)
    return Tiktoken(
        tiktoken.Encoding(
            "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={END: end}
        )
    )


def _ranks(merges: str, ids: dict[str, int]) -> dict[bytes, int]:
    """Rank of each token: the bytes in the order of GPT-2's alphabet, then what each line of
    `vocab.bpe` merges.

    Raises ValueError where the ids of `encoder.json` are others: tiktoken takes ranks for ids. (Its
    own reader of these files would keep a copy of them in its cache, by their path, and read that
    one after they have changed.)
    """
    plain = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    others = [byte for byte in range(256) if byte not in plain]
    shown = {chr(byte): byte for byte in plain} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }
    tokens = [bytes([byte]) for byte in plain + others]
    for line in merges.rstrip("\n").split("\n")[1:]:
        first, second = line.split(" ")
        tokens.append(bytes(shown[letter] for letter in first + second))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    if ranks != {
        bytes(shown[letter] for letter in token): rank
        for token, rank in ids.items()
        if token != END
    }:
        raise ValueError("`vocab.bpe` and `encoder.json` do not go together")
    return ranks
