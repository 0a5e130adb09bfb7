"""How the sequences of a batch are laid out. B lanes, T positions of a call, M targets."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """What a model has to know of tokens [B, T] besides the tokens: where they stand, what they may
    see, and where its output is wanted.

    `Layout()` is a batch of whole sequences: each lane begins at position 0, is one document and
    has no padding, and the output is wanted everywhere. All fields are int64.
    """

    targets_BM: Tensor | None = None
    """Indices of the positions whose next token is to be predicted: the last layer computes no
    others. Rows are filled up with 0. None: all positions, in order.
    """
    prefix_B: Tensor | None = None
    """How many leading positions see each other in both directions, under a prefix mask; other
    masks ignore it. None: no position does.
    """
    document_BT: Tensor | None = None
    """The number of the document that each position belongs to: a token sees only its own. None: a
    lane is one document.
    """
    length_B: Tensor | None = None
    """How many tokens of a lane are real; the padding behind them is not cached, and its output
    means nothing. None: all tokens are real.
    """
    start_B: Tensor | None = None
    """The position of a lane's first token: how many tokens the cache has of it. None: 0."""

    def real(self, positions: int) -> Tensor | None:
        """Whether each of the first `positions` tokens of a lane is real, bool [B, T]; None: all
        are.
        """
        if self.length_B is None:
            return None
        return torch.arange(positions, device=self.length_B.device) < self.length_B[:, None]

    def rows(self, index: slice | Tensor) -> "Layout":
        """The layout of some lanes: those of a slice, or of int64 indices."""
        parts: dict[str, Any] = {
            name: None if part is None else part[index] for name, part in vars(self).items()
        }
        return Layout(**parts)

    def repeated(self, times: int) -> "Layout":
        """The layout of all lanes, so many times one after the other."""
        parts: dict[str, Any] = {
            name: None if part is None else part.repeat(times, *[1] * (part.ndim - 1))
            for name, part in vars(self).items()
        }
        return Layout(**parts)


PLAIN = Layout()
"""The layout of whole sequences."""
