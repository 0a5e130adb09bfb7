"""A layer of a transformer: attention and a feed-forward network, each in its residual connection.

B lanes, T queries, S positions looked at, M positions of which the output is wanted, R of them that
are real, D width, H query heads, K key heads, W width of a head.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scalelab.families.language_model import pick
from scalelab.families.transformer import spec
from scalelab.layers.attention import Angles, attend, rotate
from scalelab.layers.cache import KvCache, Place, Visit
from scalelab.layers.ffn import ffn
from scalelab.layers.moe import Moe, Routing
from scalelab.layers.parameters import Embedding, Gain, Linear, norm
from scalelab.layers.spec import Norm

MUP_SCALE = 8.0
"""Under muP scores are 8 q k / W (arXiv 2203.03466, appendix B.1): as usual at a head of 64, and
right whether wider models have wider heads or more of them.
"""


class Layer(nn.Module):
    """Attention, then the feed-forward network, each with its residual connection.

    `vocab` is that of the value embeddings.
    """

    def __init__(self, config: spec.Transformer, index: int, vocab: int) -> None:
        super().__init__()
        assert isinstance(config.width, int)
        has_values = config.value_embeddings and (config.layers - 1 - index) % 2 == 0
        self.attention_norm = Residual(config.norm, config.width)
        self.attention = Attention(config, vocab if has_values else None)
        self.ffn_norm = Residual(config.norm, config.width)
        self.ffn = (
            Moe(config.ffn, config.width)
            if isinstance(config.ffn, spec.Moe)
            else ffn(config.ffn, config.width)
        )
        self.own_gain, self.first_gain = (
            (Gain(1.0), Gain(0.0)) if config.residual_gains else (None, None)
        )

    def forward(
        self,
        x_BTD: Tensor,
        first_BTD: Tensor,
        context: "AttentionContext",
        place: Place,
        at_BM: Tensor | None = None,
        real_R: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """[B, T, D] -> [B, T, D], or [B, M, D] where only the positions `at_BM` are wanted; and how
        a mixture routed the tokens.

        `first_BTD` is the input of the first layer. Where some of `at_BM` are padding, `real_R` are
        the others, as indices into B M: the result is [1, R, D].
        """
        if self.own_gain is not None and self.first_gain is not None:
            x_BTD = self.own_gain(x_BTD) + self.first_gain(first_BTD)
        around = self.attention_norm
        normed_BTD = queries_BTD = around.before(x_BTD)
        if at_BM is not None:
            x_BTD, queries_BTD = pick(x_BTD, at_BM), pick(normed_BTD, at_BM)
        x_BTD = around.sum(
            x_BTD + around.after(self.attention(queries_BTD, normed_BTD, context, place))
        )
        if real_R is not None:
            x_BTD = x_BTD.flatten(0, 1).index_select(0, real_R)[None]
        around, routing = self.ffn_norm, None
        y_BTD = self.ffn(around.before(x_BTD))
        if isinstance(self.ffn, Moe):
            y_BTD, routing = y_BTD
        return around.sum(x_BTD + around.after(y_BTD)), routing

    def write_cache(self, x_BTD: Tensor, context: "AttentionContext", place: Place) -> None:
        """Write keys and values of these inputs in the cache, and nothing else."""
        self.attention.keys_and_values(self.attention_norm.before(x_BTD), context, place)


class Residual(nn.Module):
    """The norms around one sublayer F, by their place (see `layers.spec.Norm.place`)."""

    def __init__(self, config: Norm, width: int) -> None:
        super().__init__()
        self.before = (
            norm(config, width) if config.place in ("pre", "peri", "sandwich") else nn.Identity()
        )
        self.after = norm(config, width) if config.place == "peri" else nn.Identity()
        self.sum = norm(config, width) if config.place in ("post", "sandwich") else nn.Identity()


class Attention(nn.Module):
    """Softmax attention of queries to the layer's input, with grouped key heads (MHA, GQA, MQA).

    `values` is the vocabulary of the layer's value embedding, if it has one.
    """

    def __init__(self, config: spec.Transformer, values: int | None = None) -> None:
        super().__init__()
        assert isinstance(config.width, int) and isinstance(config.heads, int)
        assert config.kv_heads is not None and config.head_width is not None
        self.heads, self.kv_heads, self.head_width = (
            config.heads,
            config.kv_heads,
            config.head_width,
        )
        kv_width = self.kv_heads * self.head_width
        self.query = Linear(config.width, self.heads * self.head_width)
        self.key_value = Linear(config.width, kv_width, kv_width)
        self.out = Linear(self.heads * self.head_width, config.width, residual=True)
        self.query_norm = norm(config.norm, self.head_width) if config.qk_norm else None
        self.key_norm = norm(config.norm, self.head_width) if config.qk_norm else None
        self.value_embedding = None if values is None else Embedding(values, kv_width)
        self.value_gain = None if values is None else Gain(1.0)
        # Scores are divided by sqrt(W): this is what the queries are multiplied by besides.
        self.factor = 1.0 if config.mup is None else MUP_SCALE / math.sqrt(self.head_width)

    def forward(
        self, x_BTD: Tensor, x_BSD: Tensor, context: "AttentionContext", place: Place
    ) -> Tensor:
        """Queries from x_BTD look at x_BSD (and at what the cache holds) -> [B, T, D]."""
        q_HWBT = self.query.features_first(x_BTD).unflatten(0, (self.heads, self.head_width))
        if self.query_norm is not None:
            q_HWBT = self.query_norm(q_HWBT.movedim(1, -1)).movedim(-1, 1)
        if context.query_angles is not None:
            q_HWBT = rotate(q_HWBT, context.query_angles)
        q_HWBT = q_HWBT if self.factor == 1.0 else q_HWBT * self.factor
        k_BKWS, v_BKWS = self.keys_and_values(x_BSD, context, place)
        seen_BHWT = attend(
            q_HWBT.permute(2, 0, 1, 3), k_BKWS, v_BKWS, context.bias, context.causal, context.window
        )
        return self.out.from_features(seen_BHWT.permute(1, 2, 0, 3).flatten(0, 1))

    def keys_and_values(
        self, x_BSD: Tensor, context: "AttentionContext", place: Place
    ) -> tuple[Tensor, Tensor]:
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
        if context.key_angles is not None:
            k_KWBS = rotate(k_KWBS, context.key_angles)
        if self.value_embedding is not None and self.value_gain is not None:
            embedded_BSF = self.value_gain(self.value_embedding(context.tokens_BS))
            embedded_FBS = torch.movedim(embedded_BSF, -1, 0)
            embedded_KWBS = embedded_FBS.unflatten(0, (self.kv_heads, self.head_width))
            v_KWBS = v_KWBS + embedded_KWBS.to(v_KWBS.dtype)
        k_BKWS, v_BKWS = k_KWBS.permute(2, 0, 1, 3), v_KWBS.permute(2, 0, 1, 3)
        if context.cache is None or context.visit is None:
            return k_BKWS, v_BKWS
        return context.cache.write(place, context.visit, k_BKWS, v_BKWS)


@dataclass(frozen=True)
class AttentionContext:
    """Where the queries and the keys of a call stand, and what each query sees."""

    tokens_BS: Tensor
    """The tokens of this call, of which keys and values are made."""
    bias: Tensor | None
    """[B or 1, T, S], 0 where a query may look and -inf elsewhere; None: `causal` and `window` say
    it all.
    """
    causal: bool = True
    """Whether a query sees only positions up to its own."""
    window: int | None = None
    """How many positions a query sees, its own counted in."""
    query_angles: Angles | None = None
    key_angles: Angles | None = None
    """Rope's angles, or None under another positional signal."""
    cache: KvCache | None = None
    visit: Visit | None = None
    """Where the tokens of this call go in the cache."""

    def of_lanes(self, lane_b: Tensor) -> "AttentionContext":
        """The context of these lanes, where nothing is cached."""
        bias = self.bias
        if bias is not None and len(bias) > 1:
            bias = bias.index_select(0, lane_b)
        return AttentionContext(
            self.tokens_BS.index_select(0, lane_b),
            bias,
            self.causal,
            self.window,
            _of_lanes(self.query_angles, lane_b),
            _of_lanes(self.key_angles, lane_b),
        )

    def of_queries(self, lane_b: Tensor, at_bM: Tensor, bias_BTS: Tensor) -> "AttentionContext":
        """The context of the queries at `at_bM`, of those of this context, in these lanes: all
        lanes where there is a cache. `bias_BTS`, [B or 1, T, S], says what each query of this
        context sees.
        """
        bias = (
            bias_BTS.flatten(0, 1)
            .index_select(0, _rows(lane_b, at_bM, *bias_BTS.shape[:2]))
            .unflatten(0, at_bM.shape)
        )
        tokens_BS, query_angles, key_angles = self.tokens_BS, self.query_angles, self.key_angles
        if query_angles is not None:
            row_R = _rows(lane_b, at_bM, *query_angles[0].shape[1:])
            cos, sin = (
                x.flatten(1).index_select(1, row_R).unflatten(1, at_bM.shape) for x in query_angles
            )
            query_angles = cos, sin
        if self.cache is None:
            tokens_BS = tokens_BS.index_select(0, lane_b)
            key_angles = _of_lanes(key_angles, lane_b)
        return AttentionContext(
            tokens_BS,
            bias,
            self.causal,
            self.window,
            query_angles,
            key_angles,
            self.cache,
            self.visit,
        )


def _of_lanes(angles: Angles | None, lane_b: Tensor) -> Angles | None:
    """The angles in these lanes; those that are the same for all lanes stay."""
    if angles is None or angles[0].shape[1] == 1:
        return angles
    return angles[0].index_select(1, lane_b), angles[1].index_select(1, lane_b)


def _rows(lane_b: Tensor, at_bM: Tensor, lanes: int, length: int) -> Tensor:
    """Where these positions of these lanes stand among `lanes` times `length` rows, or among the
    rows of the one lane that is for all.
    """
    return (at_bM if lanes == 1 else at_bM + length * lane_b[:, None]).flatten()


def mask_bias(
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
    the prefix all of that. `documents` are those of the queries [B, T] and of the keys [B, S]: it
    sees only its own.
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


def mask_bias_at(at_BM: Tensor, length: int, window: int | None) -> Tensor:
    """[B, M, S]: `mask_bias` of a causal mask, of queries at these positions and of keys at the
    first `length` positions.
    """
    position_1S = torch.arange(length, device=at_BM.device)[None]
    bias_SS = mask_bias(position_1S, position_1S, window=window)[0]
    # Looked up: faster than compared.
    return bias_SS.index_select(0, at_BM.flatten()).unflatten(0, at_BM.shape)
