"""What a query sees. B lanes, T queries, S keys."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scalelab.families.transformer import spec
from scalelab.layers.cache import KvCache, Visit
from scalelab.layers.position import Turn


@dataclass(frozen=True)
class Sight:
    """Where the queries and the keys of a call stand, and what each query sees."""

    tokens_BS: Tensor
    """The tokens of this call, of which keys and values are made."""
    bias: Tensor | None
    """[B or 1, T, S], 0 where a query may look and -inf elsewhere; None: `causal` and `window` say
    it all.
    """
    causal: bool = True
    """Whether a query sees positions up to its own alone."""
    window: int | None = None
    """How many positions a query sees, its own counted in."""
    query_turn: Turn | None = None
    key_turn: Turn | None = None
    """Rope's turns, or None under another positional signal."""
    cache: KvCache | None = None
    visit: Visit | None = None
    """Where the tokens of this call go in the cache."""

    def of(self, lane_b: Tensor) -> "Sight":
        """What these lanes see, where nothing is cached."""
        bias = (
            self.bias
            if self.bias is None or len(self.bias) == 1
            else self.bias.index_select(0, lane_b)
        )
        turns = (_turn_of(self.query_turn, lane_b), _turn_of(self.key_turn, lane_b))
        return Sight(self.tokens_BS.index_select(0, lane_b), bias, self.causal, self.window, *turns)

    def at(self, lane_b: Tensor, at_bM: Tensor, bias_BTS: Tensor) -> "Sight":
        """What the queries at `at_bM`, of those of this sight, see in these lanes: all lanes where
        there is a cache. `bias_BTS`, [B or 1, T, S], says what each query of this sight sees.
        """
        bias = (
            bias_BTS.flatten(0, 1)
            .index_select(0, _rows(lane_b, at_bM, *bias_BTS.shape[:2]))
            .unflatten(0, at_bM.shape)
        )
        query_turn, key_turn = self.query_turn, self.key_turn
        if query_turn is not None:
            row_R = _rows(lane_b, at_bM, *query_turn[0].shape[1:])
            cos, sin = (
                x.flatten(1).index_select(1, row_R).unflatten(1, at_bM.shape) for x in query_turn
            )
            query_turn, key_turn = (
                (cos, sin),
                key_turn if self.cache is not None else _turn_of(key_turn, lane_b),
            )
        tokens_BS = (
            self.tokens_BS if self.cache is not None else self.tokens_BS.index_select(0, lane_b)
        )
        return Sight(
            tokens_BS, bias, self.causal, self.window, query_turn, key_turn, self.cache, self.visit
        )


def _turn_of(turn: Turn | None, lane_b: Tensor) -> Turn | None:
    """The turn in these lanes; one for all lanes stays."""
    if turn is None or turn[0].shape[1] == 1:
        return turn
    return turn[0].index_select(1, lane_b), turn[1].index_select(1, lane_b)


def _rows(lane_b: Tensor, at_bM: Tensor, lanes: int, length: int) -> Tensor:
    """Where these positions of these lanes stand among `lanes` times `length` rows, or among the
    rows of the one lane that is for all.
    """
    return (at_bM if lanes == 1 else at_bM + length * lane_b[:, None]).flatten()


def reach(given: spec.Transformer, layer: int, length: int) -> int | None:
    """How many positions a query of this layer sees of a text of `length` positions; None: all that
    the mask shows.
    """
    is_global = given.global_every is not None and (layer + 1) % given.global_every == 0
    return None if given.window is None or is_global or given.window >= length else given.window


def hide(
    query_BT: Tensor,
    key_BS: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    prefix_B: Tensor | None = None,
    documents: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """[B or 1, T, S]: 0 where a query may look, -inf elsewhere, by the positions of queries and
    keys.

    Under a causal mask it sees positions up to its own, the last `window` of them, and from within
    the prefix all of that. `documents` are those of the queries [B, T] and of the keys [B, S]:
    it sees its own alone.
    """
    query_BT1, key_B1S = query_BT[:, :, None], key_BS[:, None, :]
    hidden_BTS = key_B1S > query_BT1 if causal else torch.zeros_like(key_B1S > query_BT1)
    if window is not None:
        hidden_BTS = hidden_BTS | (key_B1S <= query_BT1 - window)
    if prefix_B is not None:
        hidden_BTS = hidden_BTS & (key_B1S >= prefix_B[:, None, None])
    if documents is not None:
        hidden_BTS = hidden_BTS | (documents[0][:, :, None] != documents[1][:, None, :])
    return torch.zeros(hidden_BTS.shape, device=hidden_BTS.device).masked_fill_(
        hidden_BTS, -math.inf
    )


def hide_at(at_BM: Tensor, length: int, window: int | None) -> Tensor:
    """[B, M, S]: what a causal mask hides from queries at these positions, of keys at the first
    `length` positions.
    """
    position_1S = torch.arange(length, device=at_BM.device)[None]
    hidden_SS = hide(position_1S, position_1S, window=window)[0]
    return hidden_SS.index_select(0, at_BM.flatten()).unflatten(
        0, at_BM.shape
    )  # looked up: faster than compared
