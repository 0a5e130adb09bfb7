"""The transformer family, one to one with `spec.Transformer`.

B lanes, T positions of this call, M positions asked for, D width, V vocabulary, L layers, E
experts.
"""

import torch
from torch import Tensor

from scalelab.families.layout import PLAIN, Layout
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

    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """tokens [B, T] -> features [B, T, D] after the last norm, to which `head` may be applied
        where a loss falls; and how each mixture of experts routed the tokens, layer by layer.
        """
        length = tokens_BT.shape[1]
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        x_BTD = first_BTD = self.embed(tokens_BT, position_1T)
        sights: dict[tuple[int | None, bool], Sight] = {}
        routings: list[Routing] = []
        for index, layer in enumerate(self.layers):
            at = layout.targets_BM if index == len(self.layers) - 1 else None
            window = reach(self.given, index, length)
            if (window, at is None) not in sights:
                sights[window, at is None] = self.sight(tokens_BT, window, layout, at)
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

    def decode(self, tokens_BT: Tensor, cache: KvCache, layout: Layout = PLAIN) -> Tensor:
        """Logits [B, T, V] of tokens that follow those in the cache; writes it.

        A token sees every cached position up to its own, as far as its layer's window goes.
        """
        x_BTD, sights = self.visit(tokens_BT, cache, layout)
        first_BTD = x_BTD
        for index, layer in enumerate(self.layers):
            slots = reach(self.given, index, cache.length) or cache.length
            x_BTD, _ = layer(x_BTD, first_BTD, sights[slots], (index, 0))
        return self.head(self.norm(x_BTD))
