"""Text as its bytes in UTF-8."""

from collections.abc import Iterable

import numpy as np

from scalelab.core.canon import sha256
from scalelab.data.text.tokenizers.protocol import Ids, spoken, well_formed


class Bytes:
    """The 256 bytes, and an end of document."""

    vocab, eos = 257, 256
    digest = sha256({"kind": "bytes"})

    def encode(self, text: str) -> Ids:
        return np.frombuffer(well_formed(text).encode(), np.uint8).astype(np.int32)

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(spoken(self, ids)).decode(errors="replace")
