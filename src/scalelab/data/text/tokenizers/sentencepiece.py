"""SentencePiece models.

A model gives back what its normaliser leaves: most fold widths and forms (NFKC), join spaces and
put one in front. One that was trained with `normalization_rule_name=identity`,
`add_dummy_prefix=false`, `remove_extra_whitespaces=false` and `byte_fallback=true` loses nothing
but U+2581, the sign that it writes for a space; without the fallback, letters that it has not seen
become U+2047.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from scalelab.core.canon import sha256
from scalelab.core.locations import expanded
from scalelab.data import spec
from scalelab.data.text.tokenizers.files import malformed, read
from scalelab.data.text.tokenizers.protocol import Ids, spoken, well_formed


class SentencePiece:
    """A model from the content of its file. Raises RuntimeError where it is none."""

    def __init__(self, content: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = SentencePieceProcessor(num_threads=1)
        self._model.LoadFromSerializedProto(content)
        pieces, end = self._model.GetPieceSize(), self._model.eos_id()
        # A control piece is never written by a text.
        self.eos = end if end >= 0 and self._model.IsControl(end) else pieces
        self.vocab = max(pieces, self.eos + 1)
        self.digest = sha256(
            {"kind": "sentencepiece", "eos": self.eos, "model": hashlib.sha256(content).hexdigest()}
        )

    def encode(self, text: str) -> Ids:
        return self._model.Encode(well_formed(text), return_type="numpy").astype(np.int32)

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        found = self._model.Encode([well_formed(text) for text in texts], return_type="numpy")
        return [ids.astype(np.int32) for ids in found]

    def decode(self, ids: Iterable[int]) -> str:
        return self._model.Decode(spoken(self, ids), return_type=bytes).decode(errors="replace")


def open_sentencepiece(given: spec.SentencePiece) -> SentencePiece:
    """The model of a `.model` file. Raises UserError where it is missing or none."""
    content = read(expanded(given.model))
    try:
        return SentencePiece(content)
    except RuntimeError as error:
        raise malformed(given.model, error, "a `.model` file of SentencePiece") from error
