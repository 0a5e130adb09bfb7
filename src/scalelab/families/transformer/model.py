"""The transformer family, and what routers over a transformer's layers share with it.

B lanes, T positions of this call, S positions looked at, M targets, D width, V vocabulary, L
layers, E experts.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.transformer import spec
from scalelab.families.transformer.layer import AttentionContext, Layer, mask_bias, mask_bias_at
from scalelab.layers.attention import Angles, Rope
from scalelab.layers.cache import KvCache, Place
from scalelab.layers.moe import Moe, Routing
from scalelab.layers.parameters import Embedding, Linear, norm

Config = TypeVar("Config", bound=spec.Architecture)


def build(config: spec.Transformer, vocab: int, context: int) -> "Transformer":
    """The module of a resolved spec."""
    return Transformer(config, vocab, context)


class Architecture(LanguageModel[Config]):
    """Embedding, layers, norm and head: all but the order in which the layers are applied.

    `plain` is the transformer that the layers are those of.
    """

    def __init__(self, config: Config, plain: spec.Transformer, vocab: int, context: int) -> None:
        super().__init__()
        assert isinstance(config.width, int) and config == config.resolved(), (
            "a module is built from a resolved spec"
        )
        self.config, self.plain, self.context, self.recompute = config, plain, context, False
        self.mup_width_mult = config.mup_factor
        self.embedding = Embedding(vocab, config.width)
        self.positions = (
            Embedding(context, config.width) if config.position.kind == "learned" else None
        )
        self.embedding_norm = norm(config.norm, config.width) if config.embedding_norm else None
        self.rope = None
        if plain.position.kind == "rope":
            assert plain.head_width is not None
            self.rope = Rope(plain.head_width, context, plain.position.theta)
        self.layers = nn.ModuleList(Layer(plain, index, vocab) for index in range(config.layers))
        # Under `post` and `sandwich` the last layer ends in a norm already.
        self.norm = (
            norm(config.norm, config.width)
            if config.norm.place in ("pre", "peri")
            else nn.Identity()
        )
        self.output = None if config.tied else Linear(config.width, vocab, role="head")

    def embed(self, tokens_BT: Tensor, position_BT: Tensor) -> Tensor:
        """The input of the first layer, [B, T, D]."""
        x_BTD = self.embedding(tokens_BT)
        x_BTD = x_BTD if self.positions is None else x_BTD + self.positions(position_BT)
        x_BTD = x_BTD if self.embedding_norm is None else self.embedding_norm(x_BTD)
        # An evaluation has no gradients: nothing is dropped there, whatever mode the model is in.
        drops = self.config.embedding_dropout > 0 and self.training and torch.is_grad_enabled()
        return F.dropout(x_BTD, self.config.embedding_dropout) if drops else x_BTD

    def head(self, x: Tensor) -> Tensor:
        """Features [..., D] -> logits [..., V]."""
        x = x if self.mup_width_mult == 1.0 else x / self.mup_width_mult
        logits, cap = F.linear(x, self.head_weight), self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def head_is_product(self) -> bool:
        """Not under muP or with capped logits."""
        return self.mup_width_mult == 1.0 and self.config.logit_softcap is None

    def apply_layer(
        self,
        layer: nn.Module,
        x_BTD: Tensor,
        first_BTD: Tensor,
        context: AttentionContext,
        place: Place,
        at_BM: Tensor | None = None,
        real_R: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """See `Layer.forward`. With `recompute` only its input is kept."""
        inputs = x_BTD, first_BTD, context, place, at_BM, real_R
        if self.recompute and self.training and torch.is_grad_enabled():
            # No layer draws random numbers: there is no state of a generator to put back.
            return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        return layer(*inputs)

    def attention_context(
        self, tokens_BT: Tensor, window: int | None, layout: Layout, at_BM: Tensor | None
    ) -> AttentionContext:
        """What the queries of a layer see where nothing is cached, at all positions or at some."""
        length, causal = tokens_BT.shape[1], self.config.mask != "full"
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        query_BM = position_1T if at_BM is None else at_BM
        bias, document_BT, prefix_B = None, layout.document_BT, self.prefix(layout)
        if document_BT is not None or prefix_B is not None:
            documents = None
            if document_BT is not None:
                document_BM = document_BT if at_BM is None else document_BT.gather(1, at_BM)
                documents = document_BM, document_BT
            bias = mask_bias(
                query_BM,
                position_1T,
                causal=causal,
                window=window,
                prefix_B=prefix_B,
                documents=documents,
            )
        elif at_BM is not None and causal:
            bias = mask_bias_at(at_BM, length, window)
        angles = self._angles(query_BM), self._angles(position_1T)
        return AttentionContext(tokens_BT, bias, causal, window, *angles)

    def new_kv_cache(self, lanes: int, length: int, places: list[Place]) -> KvCache:
        """An empty cache of these places for `lanes` sequences of at most `length` positions, in
        the precision that autocast computes keys in.
        """
        config, weight = self.config, self.embedding.weight
        assert length <= self.context
        assert config.kv_heads is not None and config.head_width is not None
        assert config.mask != "full", "a model whose positions all see each other does not decode"
        slots = {place: window_size(self.plain, place[0], length) or length for place in places}
        device = weight.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )
        like = weight.new_empty(0, dtype=dtype)
        return KvCache.empty(lanes, length, slots, config.kv_heads, config.head_width, like)

    def prepare_decode(
        self, tokens_BT: Tensor, cache: KvCache, layout: Layout
    ) -> tuple[Tensor, Tensor, dict[int, AttentionContext]]:
        """Of tokens that follow those in the cache: their positions [B, T], the input of the first
        layer [B, T, D], and what they see there, by its number of slots.
        """
        position_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        position_BT = (
            position_BT.expand_as(tokens_BT)
            if layout.start_B is None
            else layout.start_B[:, None] + position_BT
        )
        # Padding may stand beyond the end.
        near_BT = (
            position_BT if layout.length_B is None else position_BT.clamp(max=self.context - 1)
        )
        angles, prefix_B = self._angles(near_BT), self.prefix(layout)
        contexts: dict[int, AttentionContext] = {}
        for slots, visit in cache.visit(position_BT, layout.length_B).items():
            window = None if slots == cache.length else slots
            bias = mask_bias(position_BT, visit.position_BS, window=window, prefix_B=prefix_B)
            contexts[slots] = AttentionContext(
                tokens_BT, bias, query_angles=angles, key_angles=angles, cache=cache, visit=visit
            )
        return position_BT, self.embed(tokens_BT, near_BT), contexts

    def prefix(self, layout: Layout) -> Tensor | None:
        """The prefix of each lane, if the mask has one."""
        return layout.prefix_B if self.config.mask == "prefix" else None

    def _angles(self, position_BT: Tensor) -> Angles | None:
        """Rope's angles of these positions, if there is rope."""
        return None if self.rope is None else self.rope.angles(position_BT)


class Transformer(Architecture[spec.Transformer]):
    """A decoder-only transformer over at most `context` positions.

    The weights are drawn by `initialise`.
    """

    def __init__(self, config: spec.Transformer, vocab: int, context: int) -> None:
        super().__init__(config, config, vocab, context)

    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """tokens [B, T] -> features [B, T, D] after the last norm, or [B, M, D] at the targets; and
        how each mixture of experts routed the tokens, layer by layer.
        """
        length = tokens_BT.shape[1]
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        x_BTD = first_BTD = self.embed(tokens_BT, position_1T)
        contexts: dict[tuple[int | None, bool], AttentionContext] = {}
        routings: list[Routing] = []
        for index, layer in enumerate(self.layers):
            at_BM = layout.targets_BM if index == len(self.layers) - 1 else None
            window = window_size(self.config, index, length)
            key = window, at_BM is None
            if key not in contexts:
                contexts[key] = self.attention_context(tokens_BT, window, layout, at_BM)
            x_BTD, routing = self.apply_layer(
                layer, x_BTD, first_BTD, contexts[key], (index, 0), at_BM
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
        """See `LanguageModel.new_cache`."""
        return self.new_kv_cache(lanes, length, [(layer, 0) for layer in range(len(self.layers))])

    def decode(self, tokens_BT: Tensor, cache: KvCache, layout: Layout = PLAIN) -> Tensor:
        """See `LanguageModel.decode`. A token sees every cached position up to its own, as far as
        its layer's window goes.
        """
        _, x_BTD, contexts = self.prepare_decode(tokens_BT, cache, layout)
        first_BTD = x_BTD
        for index, layer in enumerate(self.layers):
            slots = window_size(self.config, index, cache.length) or cache.length
            x_BTD, _ = layer(x_BTD, first_BTD, contexts[slots], (index, 0))
        return self.head(self.norm(x_BTD))


def window_size(config: spec.Transformer, layer: int, length: int) -> int | None:
    """How many positions a query of this layer sees of a text of `length` positions; None: all that
    the mask shows.
    """
    is_global = config.global_every is not None and (layer + 1) % config.global_every == 0
    fits = config.window is None or config.window >= length
    return None if is_global or fits else config.window
