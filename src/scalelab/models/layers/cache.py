"""The key-value cache: static buffers, written in place. B lanes, T new tokens, L slots, K key heads, W width of a head."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

Place = tuple[int, int]
"""(layer, step): a looped model passes one layer at several steps, and each has keys of its own."""


@dataclass
class KvCache:
    """Keys and values of every place, and the position that each slot holds.

    A slot that holds nothing yet holds a position after every other, so the rule "attend to positions up to one's own" covers it.
    """

    position_BL: Tensor
    buffers: dict[Place, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """place -> (keys, values), [B, K, W, L] each."""

    @classmethod
    def empty(cls, lanes: int, length: int, places: list[Place], kv_heads: int, head_width: int, like: Tensor) -> "KvCache":
        """A cache for `lanes` lanes of at most `length` positions, on the device and in the dtype of `like`."""
        shape = (lanes, kv_heads, head_width, length)
        buffers = {place: (like.new_zeros(shape), like.new_zeros(shape)) for place in places}
        return cls(torch.full((lanes, length), length, device=like.device), buffers)

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return self.position_BL.shape[0]

    def place(self, position_BT: Tensor) -> None:
        """Say that the slots of these positions now hold them."""
        self.position_BL.scatter_(1, position_BT, position_BT)

    def write(self, place: Place, position_BT: Tensor, k_BKWT: Tensor, v_BKWT: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values at their positions; returns the whole buffers, [B, K, W, L] each."""
        keys, values = self.buffers[place]
        slot_BKWT = position_BT[:, None, None, :].expand_as(k_BKWT)
        keys.scatter_(3, slot_BKWT, k_BKWT.to(keys.dtype))
        values.scatter_(3, slot_BKWT, v_BKWT.to(values.dtype))
        return keys, values

    def select(self, lanes: Tensor) -> "KvCache":
        """A cache of these lanes only (int64 indices), in their order."""
        chosen = {place: (keys[lanes], values[lanes]) for place, (keys, values) in self.buffers.items()}
        return KvCache(self.position_BL[lanes], chosen)
