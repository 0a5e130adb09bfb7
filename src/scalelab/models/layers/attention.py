"""Multi-head attention with grouped key heads (MHA, GQA, MQA).

B lanes, T queries, S positions looked at, D width, H query heads, K key heads, W width of a head.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from scalelab.models.layers.attend import attend
from scalelab.models.layers.cache import KvCache, Place
from scalelab.models.layers.linear import Linear
from scalelab.models.layers.norm import norm
from scalelab.models.layers.position import Turn, rotate
from scalelab.spec import model as spec


@dataclass(frozen=True)
class Sight:
    """Where the queries and the keys of a call stand, and what each query sees."""

    bias: Tensor | None
    """[B or 1, T, S], 0 where a query may look and -inf elsewhere; None is causal."""
    query_turn: Turn | None = None
    key_turn: Turn | None = None
    """Rope's turns, or None under another positional signal."""
    cache: KvCache | None = None
    position_BT: Tensor | None = None
    """Where the tokens of this call go in the cache."""


class Attention(nn.Module):
    """Softmax attention of queries to the layer's input."""

    def __init__(self, given: spec.Transformer) -> None:
        super().__init__()
        assert isinstance(given.width, int) and given.kv_heads is not None and given.head_width is not None
        self.heads, self.kv_heads, self.head_width = given.heads, given.kv_heads, given.head_width
        self.query = Linear(given.width, self.heads * self.head_width)
        self.key_value = Linear(given.width, self.kv_heads * self.head_width, self.kv_heads * self.head_width)
        self.out = Linear(self.heads * self.head_width, given.width, residual=True)
        self.query_norm = norm(given.norm, self.head_width) if given.qk_norm else None
        self.key_norm = norm(given.norm, self.head_width) if given.qk_norm else None

    def forward(self, x_BTD: Tensor, x_BSD: Tensor, sight: Sight, place: Place) -> Tensor:
        """Queries from x_BTD look at x_BSD (and at what the cache holds) -> [B, T, D]."""
        q_HWBT = self.query.features_first(x_BTD).unflatten(0, (self.heads, self.head_width))
        k_KWBS, v_KWBS = self.key_value.features_first(x_BSD).unflatten(0, (2, self.kv_heads, self.head_width)).unbind()
        if self.query_norm is not None and self.key_norm is not None:
            q_HWBT = self.query_norm(q_HWBT.movedim(1, -1)).movedim(-1, 1)
            k_KWBS = self.key_norm(k_KWBS.movedim(1, -1)).movedim(-1, 1)
        if sight.query_turn is not None and sight.key_turn is not None:
            q_HWBT, k_KWBS = rotate(q_HWBT, sight.query_turn), rotate(k_KWBS, sight.key_turn)
        q_BHWT, k_BKWS, v_BKWS = (x.permute(2, 0, 1, 3) for x in (q_HWBT, k_KWBS, v_KWBS))
        if sight.cache is not None and sight.position_BT is not None:
            k_BKWS, v_BKWS = sight.cache.write(place, sight.position_BT, k_BKWS, v_BKWS)
        seen_HWBT = attend(q_BHWT, k_BKWS, v_BKWS, sight.bias).permute(1, 2, 0, 3)
        return self.out.from_features(seen_HWBT.flatten(0, 1))
