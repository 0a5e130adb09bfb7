"""Tokenizers of the Hugging Face library `tokenizers`: a `tokenizer.json`, loaded or trained here.

What its normaliser changes (case, accents, a space in front) is lost; a byte-level BPE without one,
such as the one trained here, gives every text back.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.files import replacing
from scalelab.core.locations import child, expanded, is_url
from scalelab.data import spec
from scalelab.data.text.tokenizers.files import malformed, read
from scalelab.data.text.tokenizers.protocol import Ids, spoken, well_formed

FILE = "tokenizer.json"
"""The name of a trained tokenizer's file in the folder of its corpus."""

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
"""Special tokens that end a document, the likelier ones first."""

SMALLEST = 257
"""The tokens that a byte-level BPE has before its first merge: the bytes, and the end of a
document.
"""


class HuggingFace:
    """A tokenizer from the content of a `tokenizer.json`.

    Raises Exception where it holds none: the library has no narrower one.
    """

    def __init__(self, content: str) -> None:
        import tokenizers

        data = json.loads(content)
        # A published file may cut or pad texts to its model's window, or encode them at random (BPE
        # dropout).
        self._data = {
            **data,
            "truncation": None,
            "padding": None,
            "model": {**data["model"], **_exact(data["model"])},
        }
        self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(self._data))
        self._tokenizer.encode_special_tokens = True  # as the text that they are
        end = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.eos = _end(self._data, end)
        self.vocab = max(end, self.eos + 1)
        self.digest = sha256({"kind": "huggingface", "eos": self.eos, "tokenizer": self._data})

    def encode(self, text: str) -> Ids:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        found = self._tokenizer.encode_batch_fast(
            [well_formed(text) for text in texts], add_special_tokens=False
        )
        return [np.array(encoding.ids, np.int32) for encoding in found]

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(spoken(self, ids), skip_special_tokens=False)


def open_huggingface(given: spec.HuggingFace, folder: str | None) -> HuggingFace:
    """The tokenizer of a file, of the hub, or (trained) of the prepared corpus in `folder`.

    Raises UserError where it can't be had.
    """
    if given.source is not None:
        path = _local(given.source)
    elif folder is not None:
        path = child(folder, FILE)
    else:
        raise UserError(
            "a tokenizer that is trained on its corpus lies with the corpus",
            cure="prepare the corpus first",
        )
    try:
        return HuggingFace(read(path).decode())
    except UserError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise malformed(path, error, f"a `{FILE}` of the library `tokenizers`") from error


def train_huggingface(
    given: spec.HuggingFace, documents: Iterable[str], folder: str
) -> HuggingFace:
    """Train a byte-level BPE of `given.train` tokens (fewer, where the text has no more pairs) and
    save it in a local folder.

    The same documents in the same order give the same file. Memory grows with the number of
    distinct words, not with the text.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    assert given.train is not None, "nothing to train"
    if given.train < SMALLEST:
        raise UserError(
            f"a byte-level BPE has at least {SMALLEST} tokens, not {given.train}",
            cure=f"train {SMALLEST} or more",
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=given.train,
        min_frequency=2,
        show_progress=False,
        special_tokens=[ENDS[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_texts(documents), trainer)
    path = Path(folder) / FILE
    with replacing(path) as part:
        part.write_text(tokenizer.to_str(), encoding="utf-8")
    return HuggingFace(path.read_text(encoding="utf-8"))


def _texts(documents: Iterable[str]) -> Iterator[str]:
    return map(well_formed, documents)


def _exact(model: dict[str, Any]) -> dict[str, None]:
    return {"dropout": None} if "dropout" in model else {}


def _end(data: dict[str, Any], fresh: int) -> int:
    """The id of the token that ends a document, or a fresh one where the tokenizer has none that no
    text encodes to.
    """
    special = {token["content"]: token["id"] for token in data["added_tokens"] if token["special"]}
    for name in ENDS:
        if name in special and not _writes(data["model"], name):
            return special[name]
    return fresh


def _writes(model: dict[str, Any], token: str) -> bool:
    """Whether the model may encode a text to this token: a BPE can't where no merge makes it, the
    other kinds may use all they have.
    """
    if model["type"] != "BPE" or model.get("ignore_merges"):
        return token in dict(model["vocab"])
    merged = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return any("".join(pair) == token for pair in merged)


def _local(source: str) -> str:
    """The path of a file or a folder that has one, or of the hub's file, which is downloaded unless
    it was before.
    """
    place = expanded(source)
    path = Path(place)
    if is_url(place) or path.is_file():
        return place
    if path.is_dir():
        return str(path / FILE)
    if path.suffix == ".json" or path.is_absolute() or source.count("/") > 1:
        raise UserError(
            "there is no such tokenizer file",
            cure="check `source`: a `tokenizer.json`, or a name on the hub",
            where=source,
        )
    return _from_hub(source)


def _from_hub(name: str) -> str:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return huggingface_hub.hf_hub_download(name, FILE, local_files_only=True)
    except LocalEntryNotFoundError:
        pass
    except ValueError as error:
        raise UserError(
            f"`{name}` is neither a file nor a name on the hub", cure="check `source`"
        ) from error
    try:
        return huggingface_hub.hf_hub_download(name, FILE)
    except (
        OSError
    ) as error:  # no network, no such repository, no such file in it, or no access to it
        raise UserError(
            f"`{FILE}` of `{name}` is not in the hub's cache, and its download failed"
            f" ({type(error).__name__})",
            cure="check the name and the network, or give the path of a `tokenizer.json`",
        ) from error
