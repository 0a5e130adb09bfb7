"""Multi-head attention with grouped key heads (MHA, GQA, MQA).

B lanes, T queries, S positions looked at, D width, H query heads, K key heads, W width of a head.
"""

import math

import torch
from torch import Tensor, nn

from scalelab.families.transformer import spec
from scalelab.families.transformer.sight import Sight
from scalelab.layers.attend import attend
from scalelab.layers.cache import Place
from scalelab.layers.linear import Embedding, Linear
from scalelab.layers.norm import Gain, norm
from scalelab.layers.position import rotate

MUP_SCALE = 8.0
"""Under muP scores are 8 q k / W (arXiv 2203.03466, appendix B.1): as usual at a head of 64, and
right whether wider models have wider heads or more of them.
"""


class Attention(nn.Module):
    """Softmax attention of queries to the layer's input.

    `values` is the vocabulary of the layer's value embedding, if it has one.
    """

    def __init__(self, given: spec.Transformer, values: int | None = None) -> None:
        super().__init__()
        assert isinstance(given.width, int) and isinstance(given.heads, int)
        assert given.kv_heads is not None and given.head_width is not None
        self.heads, self.kv_heads, self.head_width = given.heads, given.kv_heads, given.head_width
        self.query = Linear(given.width, self.heads * self.head_width)
        self.key_value = Linear(
            given.width, self.kv_heads * self.head_width, self.kv_heads * self.head_width
        )
        self.out = Linear(self.heads * self.head_width, given.width, residual=True)
        self.query_norm = norm(given.norm, self.head_width) if given.qk_norm else None
        self.key_norm = norm(given.norm, self.head_width) if given.qk_norm else None
        self.value_embedding = (
            None if values is None else Embedding(values, self.kv_heads * self.head_width)
        )
        self.value_gain = None if values is None else Gain(1.0)
        # Scores are divided by sqrt(W): this is what the queries are multiplied by besides.
        self.factor = 1.0 if given.mup is None else MUP_SCALE / math.sqrt(self.head_width)

    def forward(self, x_BTD: Tensor, x_BSD: Tensor, sight: Sight, place: Place) -> Tensor:
        """Queries from x_BTD look at x_BSD (and at what the cache holds) -> [B, T, D]."""
        q_HWBT = self.query.features_first(x_BTD).unflatten(0, (self.heads, self.head_width))
        if self.query_norm is not None:
            q_HWBT = self.query_norm(q_HWBT.movedim(1, -1)).movedim(-1, 1)
        if sight.query_turn is not None:
            q_HWBT = rotate(q_HWBT, sight.query_turn)
        q_HWBT = q_HWBT if self.factor == 1.0 else q_HWBT * self.factor
        k_BKWS, v_BKWS = self.keys_and_values(x_BSD, sight, place)
        seen_BHWT = attend(
            q_HWBT.permute(2, 0, 1, 3), k_BKWS, v_BKWS, sight.bias, sight.causal, sight.window
        )
        return self.out.from_features(seen_BHWT.permute(1, 2, 0, 3).flatten(0, 1))

    def keys_and_values(self, x_BSD: Tensor, sight: Sight, place: Place) -> tuple[Tensor, Tensor]:
        """Of x_BSD, and of what the cache holds besides: [B, K, W, S] each. Writes the cache, if
        there is one.
        """
        k_KWBS, v_KWBS = (
            self.key_value.features_first(x_BSD)
            .unflatten(0, (2, self.kv_heads, self.head_width))
            .unbind()
        )
        if self.key_norm is not None:
            k_KWBS = self.key_norm(k_KWBS.movedim(1, -1)).movedim(-1, 1)
        if sight.key_turn is not None:
            k_KWBS = rotate(k_KWBS, sight.key_turn)
        v_KWBS = (
            v_KWBS + self._embedded(sight.tokens_BS).to(v_KWBS.dtype)
            if self.value_embedding is not None
            else v_KWBS
        )
        k_BKWS, v_BKWS = k_KWBS.permute(2, 0, 1, 3), v_KWBS.permute(2, 0, 1, 3)
        if sight.cache is None or sight.visit is None:
            return k_BKWS, v_BKWS
        return sight.cache.write(place, sight.visit, k_BKWS, v_BKWS)

    def _embedded(self, tokens_BS: Tensor) -> Tensor:
        """What the tokens add to their values, [K, W, B, S]."""
        assert self.value_embedding is not None and self.value_gain is not None
        embedded_BSF = self.value_gain(self.value_embedding(tokens_BS))
        return torch.movedim(embedded_BSF, -1, 0).unflatten(0, (self.kv_heads, self.head_width))
