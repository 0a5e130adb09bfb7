"""The key-value cache: static buffers, written in place.

B lanes, T new tokens, L slots, K key heads, W width of a head, S keys.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

Place = tuple[int, int]
"""(layer, step): a looped model passes one layer at several steps, and each has keys of its own."""

NEVER = 2**62
"""The position of a slot that holds nothing: after every other, so that "a query sees positions up
to its own" covers it.
"""


@dataclass(frozen=True)
class Visit:
    """Where the tokens of one call go, and where the keys stand that they look at."""

    slot_BT: Tensor
    position_BS: Tensor
    """Positions of the keys that `KvCache.write` returns."""
    appended: bool
    """Whether the keys of the call stand behind those of the ring: then a token sees some that
    others of the call push out of it.
    """


@dataclass
class KvCache:
    """Keys and values of every place.

    Position p lies in slot p modulo the number of slots: a ring where that is less than the
    positions a lane has room for. Each buffer has a spare slot at its end, which nobody looks at:
    there goes what is not to be kept, padding for one.
    """

    length: int
    """Positions that a lane has room for."""
    position_BL: dict[int, Tensor]
    """Number of slots -> the position that each of them holds, and NEVER for the spare one."""
    buffers: dict[Place, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """place -> (keys, values), [B, K, L + 1, W] each."""

    @classmethod
    def empty(
        cls,
        lanes: int,
        length: int,
        slots: dict[Place, int],
        kv_heads: int,
        head_width: int,
        like: Tensor,
    ) -> "KvCache":
        """A cache for `lanes` lanes of at most `length` positions, each place with its number of
        slots, in the dtype of `like`.
        """
        buffers = {}
        for place, number in slots.items():
            shape = (lanes, kv_heads, number + 1, head_width)
            buffers[place] = (like.new_zeros(shape), like.new_zeros(shape))
        positions = {
            number: torch.full((lanes, number + 1), NEVER, device=like.device)
            for number in sorted(set(slots.values()))
        }
        return cls(length, positions, buffers)

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return next(iter(self.position_BL.values())).shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the slots of all lanes, the spare ones left out."""
        return sum(
            buffer[:, :, :-1].numel() * buffer.element_size()
            for pair in self.buffers.values()
            for buffer in pair
        )

    def visit(self, position_BT: Tensor, length_B: Tensor | None = None) -> dict[int, Visit]:
        """Say that tokens at these positions come in, of each lane the first `length_B` (all where
        it is None).

        Returns for each number of slots where they go. Padding, and what the same call pushes out
        again, goes to the spare slot.
        """
        return {slots: self._visit(slots, position_BT, length_B) for slots in self.position_BL}

    def _visit(self, slots: int, position_BT: Tensor, length_B: Tensor | None) -> Visit:
        held_BL, length = self.position_BL[slots], position_BT.shape[1]
        slot_BT = position_BT % slots
        appended = length > 1 and slots < self.length
        position_BS = (
            torch.cat([held_BL[:, :-1], position_BT], dim=1) if appended else held_BL[:, :-1]
        )
        written_BT = position_BT
        if length_B is not None or length > slots:
            index_T = torch.arange(length, device=position_BT.device)
            end_B1 = (
                torch.full_like(position_BT[:, :1], length)
                if length_B is None
                else length_B[:, None]
            )
            kept_BT = (index_T < end_B1) & (index_T >= end_B1 - slots)
            slot_BT, written_BT = (
                torch.where(kept_BT, slot_BT, slots),
                torch.where(kept_BT, position_BT, NEVER),
            )
        held_BL.scatter_(1, slot_BT, written_BT)
        return Visit(slot_BT, position_BS, appended)

    def write(
        self, place: Place, visit: Visit, k_BKWT: Tensor, v_BKWT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values in their slots; returns those that the call's tokens look at,
        [B, K, W, S] each.
        """
        keys, values = (
            self._write(*pair, visit)
            for pair in zip(self.buffers[place], (k_BKWT, v_BKWT), strict=True)
        )
        return keys, values

    @staticmethod
    def _write(buffer: Tensor, x_BKWT: Tensor, visit: Visit) -> Tensor:
        x_BKTW, held_BKLW = x_BKWT.transpose(2, 3).to(buffer.dtype), buffer[:, :, :-1]
        if visit.appended:
            held_BKLW = torch.cat([held_BKLW, x_BKTW], dim=2)
        lane_B1 = torch.arange(buffer.shape[0], device=buffer.device)[:, None]
        buffer[lane_B1, :, visit.slot_BT] = x_BKTW.transpose(1, 2)
        return held_BKLW.transpose(2, 3)

    def select(self, lanes: Tensor) -> "KvCache":
        """A cache of these lanes only (int64 indices), in their order."""
        positions = {slots: held_BL[lanes] for slots, held_BL in self.position_BL.items()}
        return KvCache(
            self.length,
            positions,
            {place: (keys[lanes], values[lanes]) for place, (keys, values) in self.buffers.items()},
        )


@dataclass
class RoutedCache:
    """Keys and values of every layer that a step may choose; and where a sequence takes one route,
    what was settled of it by the call that began it: by name, [B, steps, ...] each.
    """

    keys: KvCache
    steps: int
    settled: dict[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Positions that a lane has room for."""
        return self.keys.length

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return self.keys.lanes

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values."""
        return self.keys.nbytes

    def settle(self, name: str, step: int, begins_B: Tensor, fresh_Bx: Tensor) -> Tensor:
        """What holds at this step, [B, ...]: what is fresh in the lanes that begin, which is kept,
        and what was kept in the others.
        """
        kept_BSx = self.settled.setdefault(
            name, fresh_Bx.new_zeros(self.lanes, self.steps, *fresh_Bx.shape[1:])
        )
        kept_BSx[:, step] = torch.where(
            begins_B.view(-1, *[1] * (fresh_Bx.ndim - 1)), fresh_Bx, kept_BSx[:, step]
        )
        return kept_BSx[:, step]

    def select(self, lanes: Tensor) -> "RoutedCache":
        """A cache of these lanes only (int64 indices), in their order."""
        return RoutedCache(
            self.keys.select(lanes),
            self.steps,
            {name: kept_BSx[lanes] for name, kept_BSx in self.settled.items()},
        )
