"""The transformer family, one to one with `spec.Transformer`.

B lanes, T positions of this call, M positions asked for, D width, V vocabulary, L layers, E
experts.
"""

import torch
from torch import Tensor

from scalelab.families.transformer import spec
from scalelab.families.transformer.architecture import Architecture
from scalelab.families.transformer.layer import Layer
from scalelab.families.transformer.sight import Sight, reach
from scalelab.layers.cache import KvCache
from scalelab.layers.moe import Moe, Routing


def build(given: spec.Transformer, vocab: int, context: int) -> "Transformer":
    """The module of a resolved spec."""
    return Transformer(given, vocab, context)


class Transformer(Architecture[spec.Transformer]):
    """A decoder-only transformer over at most `context` positions.

    The weights are drawn by `initialise`.

    Set `recompute` to keep each layer's input alone while training, and compute the rest again in
    the backward pass.
    """

    def __init__(self, given: spec.Transformer, vocab: int, context: int) -> None:
        super().__init__(given, given, given.layers, vocab, context)

    def run(
        self,
        tokens_BT: Tensor,
        given_B: Tensor | None = None,
        at_BM: Tensor | None = None,
        document_BT: Tensor | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """tokens [B, T] -> features [B, T, D] after the last norm, to which `head` may be applied
        where a loss falls; and how each mixture of experts routed the tokens, layer by layer.

        With `at_BM`, the features [B, M, D] at these positions alone: the last layer computes no
        others. With `document_BT`, the number of the document that each position belongs to, a
        token sees its own document alone.
        """
        length = tokens_BT.shape[1]
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        given_B = given_B if self.given.mask == "prefix" else None
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        x_BTD = first_BTD = self.embed(tokens_BT, position_1T)
        sights: dict[tuple[int | None, bool], Sight] = {}
        routings: list[Routing] = []
        for index, layer in enumerate(self.layers):
            at = at_BM if index == len(self.layers) - 1 else None
            window = reach(self.given, index, length)
            if (window, at is None) not in sights:
                sights[window, at is None] = self.sight(tokens_BT, window, given_B, at, document_BT)
            x_BTD, routing = self.pass_through(
                layer, x_BTD, first_BTD, sights[window, at is None], (index, 0), at
            )
            routings += [] if routing is None else [routing]
        return self.norm(x_BTD), routings

    def rebalance(self, load_LE: Tensor) -> None:
        """Loss-free balancing after an update, of the tokens [L, E] that each layer's experts took
        in it.
        """
        mixtures = [
            layer.ffn
            for layer in self.layers
            if isinstance(layer, Layer) and isinstance(layer.ffn, Moe)
        ]
        for mixture, load_E in zip(mixtures, load_LE, strict=True):
            mixture.rebalance(load_E)

    def new_cache(self, lanes: int, length: int) -> KvCache:
        """An empty cache for `lanes` sequences of at most `length` positions, in the precision that
        autocast computes keys in.
        """
        return self.empty(lanes, length, [(layer, 0) for layer in range(self.given.layers)])

    def decode(
        self,
        tokens_BT: Tensor,
        start_B: Tensor,
        cache: KvCache,
        given_B: Tensor | None = None,
        length_B: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of tokens that stand at positions `start_B`, `start_B` + 1, ... of their
        lanes; writes the cache.

        A token sees every cached position up to its own, as far as its layer's window goes. The
        first `length_B` tokens of a lane are real, all of them where it is None; the padding behind
        them is not written, and its logits mean nothing. Under a prefix mask `given_B` belongs to
        the call that brings the given text, which must hold all of it.
        """
        x_BTD, sights = self.visit(tokens_BT, start_B, cache, given_B, length_B)
        first_BTD = x_BTD
        for index, layer in enumerate(self.layers):
            slots = reach(self.given, index, cache.length) or cache.length
            x_BTD, _ = layer(x_BTD, first_BTD, sights[slots], (index, 0))
        return self.head(self.norm(x_BTD))
