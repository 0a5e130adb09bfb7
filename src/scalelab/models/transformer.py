"""The transformer family, one to one with `spec.model.Transformer`.

B lanes, T positions of this call, S positions looked at, M positions asked for, D width, V vocabulary.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn

from scalelab.models.layers.attention import Attention, Sight
from scalelab.models.layers.cache import KvCache, Place
from scalelab.models.layers.ffn import ffn
from scalelab.models.layers.linear import Embedding, Linear, initialise
from scalelab.models.layers.norm import norm
from scalelab.models.layers.position import Rope
from scalelab.spec import model as spec


class Residual(nn.Module):
    """The norms around one sublayer F, by their place (see `spec.model.Norm.place`)."""

    def __init__(self, given: spec.Norm, width: int) -> None:
        super().__init__()
        self.before = norm(given, width) if given.place in ("pre", "peri", "sandwich") else nn.Identity()
        self.after = norm(given, width) if given.place == "peri" else nn.Identity()
        self.sum = norm(given, width) if given.place in ("post", "sandwich") else nn.Identity()


class Layer(nn.Module):
    """Attention, then the feed-forward network, each with its residual connection."""

    def __init__(self, given: spec.Transformer, width: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = Residual(given.norm, width), Attention(given)
        self.ffn_norm, self.ffn = Residual(given.norm, width), ffn(given.ffn, width)

    def forward(self, x_BTD: Tensor, sight: Sight, place: Place, at_BM: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D], or [B, M, D] where only the positions `at_BM` are asked for."""
        around = self.attention_norm
        normed_BTD = queries_BTD = around.before(x_BTD)
        if at_BM is not None:
            x_BTD, queries_BTD = pick(x_BTD, at_BM), pick(normed_BTD, at_BM)
        x_BTD = around.sum(x_BTD + around.after(self.attention(queries_BTD, normed_BTD, sight, place)))
        around = self.ffn_norm
        return around.sum(x_BTD + around.after(self.ffn(around.before(x_BTD))))


class Transformer(nn.Module):
    """A decoder-only transformer over at most `context` positions. The weights are drawn by `initialise`."""

    def __init__(self, given: spec.Transformer, vocab: int, context: int) -> None:
        super().__init__()
        assert isinstance(given.width, int) and given == given.resolved(), "a module is built from a resolved spec"
        self.given, self.context = given, context
        self.embedding = Embedding(vocab, given.width)
        self.positions = Embedding(context, given.width) if given.position.kind == "learned" else None
        self.rope = _rope(given, context)
        self.layers = nn.ModuleList(Layer(given, given.width) for _ in range(given.layers))
        # Under `post` and `sandwich` the last layer ends in a norm already.
        self.norm = norm(given.norm, given.width) if given.norm.place in ("pre", "peri") else nn.Identity()
        self.output = None if given.tied else Linear(given.width, vocab)

    def initialise(self, seed: int) -> Self:
        """Draw the weights: the same numbers for the same seed on every device."""
        initialise(self, self.given.init, self.given.layers, seed)
        return self

    def forward(self, tokens_BT: Tensor, given_B: Tensor | None = None) -> Tensor:
        """int64 tokens [B, T] -> logits of the next token [B, T, V].

        `given_B`, under a prefix mask, is how many leading positions of a lane see each other in both directions; without it none do.
        """
        return self.head(self.trunk(tokens_BT, given_B))

    def trunk(self, tokens_BT: Tensor, given_B: Tensor | None = None, at_BM: Tensor | None = None) -> Tensor:
        """tokens [B, T] -> features [B, T, D] after the last norm, to which `head` may be applied where a loss falls.

        With `at_BM`, the features [B, M, D] at these positions alone: the last layer computes no others.
        """
        length = tokens_BT.shape[1]
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        given_B = given_B if self.given.mask == "prefix" else None
        bias = None if given_B is None else _bias(position_1T, position_1T, given_B)
        turn = None if self.rope is None else self.rope.turn(position_1T)
        sight = last_sight = Sight(bias, turn, turn)
        if at_BM is not None:
            at_turn = None if self.rope is None else self.rope.turn(at_BM)
            last_sight = Sight(_bias_at(at_BM, length, given_B), at_turn, turn)
        x_BTD = self._embed(tokens_BT, position_1T)
        *before, last = self.layers
        for index, layer in enumerate(before):
            x_BTD = layer(x_BTD, sight, (index, 0))
        return self.norm(last(x_BTD, last_sight, (len(before), 0), at_BM))

    def head(self, x: Tensor) -> Tensor:
        """Features [..., D] -> logits [..., V]."""
        return nn.functional.linear(x, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix, [V, D]."""
        return self.embedding.weight if self.output is None else self.output.weight

    def new_cache(self, lanes: int, length: int) -> KvCache:
        """An empty cache for `lanes` sequences of at most `length` positions."""
        assert length <= self.context and self.given.kv_heads is not None and self.given.head_width is not None
        places = [(layer, 0) for layer in range(self.given.layers)]
        return KvCache.empty(lanes, length, places, self.given.kv_heads, self.given.head_width, self.embedding.weight)

    def decode(self, tokens_BT: Tensor, start_B: Tensor, cache: KvCache, given_B: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of tokens that stand at positions `start_B`, `start_B` + 1, ... of their lanes; writes the cache.

        A token sees every cached position up to its own. Padding at the end of a lane does no harm: it lies after the lane's
        tokens, and is overwritten when the lane gets there. Under a prefix mask `given_B` belongs to the call that brings the
        given text, which must hold all of it.
        """
        position_BT = start_B[:, None] + torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        cache.place(position_BT)
        bias = _bias(position_BT, cache.position_BL, given_B if self.given.mask == "prefix" else None)
        turn = None if self.rope is None else self.rope.turn(position_BT)
        sight = Sight(bias, turn, turn, cache, position_BT)
        x_BTD = self._embed(tokens_BT, position_BT)
        for index, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, sight, (index, 0))
        return self.head(self.norm(x_BTD))

    def _embed(self, tokens_BT: Tensor, position_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        return x_BTD if self.positions is None else x_BTD + self.positions(position_BT)


def pick(x_BTD: Tensor, at_BM: Tensor) -> Tensor:
    """The features [B, M, D] at the positions `at_BM` of their lanes."""
    lanes, length, _ = x_BTD.shape
    row_BM = at_BM + length * torch.arange(lanes, device=at_BM.device)[:, None]
    return x_BTD.flatten(0, 1).index_select(0, row_BM.flatten()).unflatten(0, at_BM.shape)


def _rope(given: spec.Transformer, context: int) -> Rope | None:
    if given.position.kind != "rope":
        return None
    assert given.head_width is not None
    return Rope(given.head_width, context, given.position.theta)


def _bias_at(at_BM: Tensor, length: int, given_B: Tensor | None) -> Tensor:
    """[B, M, S]: `_bias` of the queries at these positions, to keys at the first `length` positions."""
    position_1S = torch.arange(length, device=at_BM.device)[None]
    if given_B is not None:
        return _bias(at_BM, position_1S, given_B)
    causal_SS = _bias(position_1S, position_1S, None)[0]
    return causal_SS.index_select(0, at_BM.flatten()).unflatten(0, at_BM.shape)  # looked up: faster than compared


def _bias(query_BT: Tensor, key_BS: Tensor, given_B: Tensor | None) -> Tensor:
    """[B or 1, T, S]: a query sees positions up to its own, and from within the given text all of that: 0, elsewhere -inf."""
    hidden_BTS = key_BS[:, None, :] > query_BT[:, :, None]
    if given_B is not None:
        hidden_BTS = hidden_BTS & (key_BS[:, None, :] >= given_B[:, None, None])
    return torch.zeros(hidden_BTS.shape, device=hidden_BTS.device).masked_fill_(hidden_BTS, -math.inf)
