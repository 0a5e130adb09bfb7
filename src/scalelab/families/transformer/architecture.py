"""What every family of attentive models has in common, one to one with
`spec.Architecture`.

B lanes, T positions of this call, S positions looked at, M positions asked for, D width, V
vocabulary.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.families.transformer import spec
from scalelab.families.transformer.layer import Layer
from scalelab.families.transformer.sight import Sight, hide, hide_at, reach
from scalelab.layers.cache import KvCache, Place
from scalelab.layers.linear import Embedding, Linear
from scalelab.layers.moe import Routing
from scalelab.layers.norm import norm
from scalelab.layers.position import Rope, Turn

Given = TypeVar("Given", bound=spec.Architecture)


class Architecture(LanguageModel[Given]):
    """Embedding, layers, norm and head.

    `plain` is the transformer that the layers are those of, `depth` how many a token goes through.
    """

    def __init__(
        self, given: Given, plain: spec.Transformer, depth: int, vocab: int, context: int
    ) -> None:
        super().__init__()
        assert isinstance(given.width, int) and given == given.resolved(), (
            "a module is built from a resolved spec"
        )
        self.given, self.plain, self.depth, self.context, self.recompute = (
            given,
            plain,
            depth,
            context,
            False,
        )
        self.wider = given.mup_factor
        self.embedding = Embedding(vocab, given.width)
        self.positions = (
            Embedding(context, given.width) if given.position.kind == "learned" else None
        )
        self.embedding_norm = norm(given.norm, given.width) if given.embedding_norm else None
        self.rope = _rope(plain, context)
        self.layers = nn.ModuleList(Layer(plain, index, vocab) for index in range(given.layers))
        # Under `post` and `sandwich` the last layer ends in a norm already.
        self.norm = (
            norm(given.norm, given.width) if given.norm.place in ("pre", "peri") else nn.Identity()
        )
        self.output = None if given.tied else Linear(given.width, vocab, role="head")

    def head(self, x: Tensor) -> Tensor:
        """Features [..., D] -> logits [..., V]."""
        logits = nn.functional.linear(x if self.wider == 1.0 else x / self.wider, self.head_weight)
        cap = self.given.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def head_is_product(self) -> bool:
        """Not under muP or with capped logits."""
        return self.wider == 1.0 and self.given.logit_softcap is None

    def empty(self, lanes: int, length: int, places: list[Place]) -> KvCache:
        """An empty cache of these places for `lanes` sequences of at most `length` positions, in
        the precision that autocast computes keys in.
        """
        given = self.given
        assert (
            length <= self.context and given.kv_heads is not None and given.head_width is not None
        )
        assert given.mask != "full", "a model whose positions all see each other does not decode"
        slots = {place: reach(self.plain, place[0], length) or length for place in places}
        weight = self.embedding.weight
        device = weight.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )
        return KvCache.empty(
            lanes, length, slots, given.kv_heads, given.head_width, weight.new_empty(0, dtype=dtype)
        )

    def visit(
        self, tokens_BT: Tensor, cache: KvCache, layout: Layout
    ) -> tuple[Tensor, dict[int, Sight]]:
        """What the first layer gets of tokens that come to a cache (see `decode`), and what they
        see there, by its number of slots.
        """
        position_BT = self.positions_of(tokens_BT, layout)
        near_BT = (
            position_BT if layout.length_B is None else position_BT.clamp(max=self.context - 1)
        )  # padding may stand beyond the end
        turn = self.turn(near_BT)
        visits = cache.visit(position_BT, layout.length_B)
        sights: dict[int, Sight] = {}
        for slots, visit in visits.items():
            window = None if slots == cache.length else slots
            bias = hide(position_BT, visit.position_BS, window=window, prefix_B=self.prefix(layout))
            sights[slots] = Sight(
                tokens_BT, bias, query_turn=turn, key_turn=turn, cache=cache, visit=visit
            )
        return self.embed(tokens_BT, near_BT), sights

    def pass_through(
        self,
        layer: nn.Module,
        x_BTD: Tensor,
        first_BTD: Tensor,
        sight: Sight,
        place: Place,
        *asked: Tensor | None,
    ) -> tuple[Tensor, Routing | None]:
        """What a layer gives; with `recompute` its input alone is kept.

        `asked`: see `Layer.forward`.
        """
        if self.recompute and self.training and torch.is_grad_enabled():
            # No layer draws random numbers: there is no state of a generator to put back.
            return checkpoint(
                layer,
                x_BTD,
                first_BTD,
                sight,
                place,
                *asked,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        return layer(x_BTD, first_BTD, sight, place, *asked)

    def prefix(self, layout: Layout) -> Tensor | None:
        """The prefix of each lane, if the mask has one."""
        return layout.prefix_B if self.given.mask == "prefix" else None

    @staticmethod
    def positions_of(tokens_BT: Tensor, layout: Layout) -> Tensor:
        """Where the tokens of a call stand, [B, T]."""
        lanes, length = tokens_BT.shape
        position_T = torch.arange(length, device=tokens_BT.device)
        if layout.start_B is None:
            return position_T.expand(lanes, length)
        return layout.start_B[:, None] + position_T

    def sight(
        self, tokens_BT: Tensor, window: int | None, layout: Layout, at_BM: Tensor | None
    ) -> Sight:
        """What the queries of a layer see, at every position or at those asked for."""
        length, causal = tokens_BT.shape[1], self.given.mask != "full"
        position_1T = torch.arange(length, device=tokens_BT.device)[None]
        query_BM = position_1T if at_BM is None else at_BM
        bias, document_BT, prefix_B = None, layout.document_BT, self.prefix(layout)
        if document_BT is not None or prefix_B is not None:
            document_BM = (
                document_BT
                if document_BT is None or at_BM is None
                else document_BT.gather(1, at_BM)
            )
            documents = (
                None if document_BM is None or document_BT is None else (document_BM, document_BT)
            )
            bias = hide(
                query_BM,
                position_1T,
                causal=causal,
                window=window,
                prefix_B=prefix_B,
                documents=documents,
            )
        elif at_BM is not None and causal:
            bias = hide_at(at_BM, length, window)
        return Sight(tokens_BT, bias, causal, window, self.turn(query_BM), self.turn(position_1T))

    def turn(self, position_BT: Tensor) -> Turn | None:
        """Rope's turn of these positions, if there is rope."""
        return None if self.rope is None else self.rope.turn(position_BT)

    def embed(self, tokens_BT: Tensor, position_BT: Tensor) -> Tensor:
        """What the first layer gets, [B, T, D]."""
        x_BTD = self.embedding(tokens_BT)
        x_BTD = x_BTD if self.positions is None else x_BTD + self.positions(position_BT)
        x_BTD = x_BTD if self.embedding_norm is None else self.embedding_norm(x_BTD)
        # An evaluation has no gradients: nothing is dropped there, whatever mode the model is in.
        drops = self.given.embedding_dropout > 0 and self.training and torch.is_grad_enabled()
        return nn.functional.dropout(x_BTD, self.given.embedding_dropout) if drops else x_BTD


def _rope(given: spec.Transformer, context: int) -> Rope | None:
    if given.position.kind != "rope":
        return None
    assert given.head_width is not None
    return Rope(given.head_width, context, given.position.theta)
