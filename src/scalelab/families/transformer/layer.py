"""A layer of a transformer: attention and a feed-forward network, each in its residual connection.

B lanes, T positions, M positions asked for, R of them that are real, D width.
"""

from torch import Tensor, nn

from scalelab.families.transformer import spec
from scalelab.families.transformer.attention import Attention
from scalelab.families.transformer.sight import Sight
from scalelab.layers.cache import Place
from scalelab.layers.ffn import ffn
from scalelab.layers.gather import pick
from scalelab.layers.moe import Moe, Routing
from scalelab.layers.norm import Gain, norm
from scalelab.layers.spec import Norm


class Residual(nn.Module):
    """The norms around one sublayer F, by their place (see `layers.spec.Norm.place`)."""

    def __init__(self, given: Norm, width: int) -> None:
        super().__init__()
        self.before = (
            norm(given, width) if given.place in ("pre", "peri", "sandwich") else nn.Identity()
        )
        self.after = norm(given, width) if given.place == "peri" else nn.Identity()
        self.sum = norm(given, width) if given.place in ("post", "sandwich") else nn.Identity()


class Layer(nn.Module):
    """Attention, then the feed-forward network, each with its residual connection.

    `vocab` is that of the value embeddings.
    """

    def __init__(self, given: spec.Transformer, index: int, vocab: int) -> None:
        super().__init__()
        assert isinstance(given.width, int)
        has_values = given.value_embeddings and (given.layers - 1 - index) % 2 == 0
        self.attention_norm, self.attention = (
            Residual(given.norm, given.width),
            Attention(given, vocab if has_values else None),
        )
        self.ffn_norm = Residual(given.norm, given.width)
        self.ffn = (
            Moe(given.ffn, given.width)
            if isinstance(given.ffn, spec.Moe)
            else ffn(given.ffn, given.width)
        )
        self.own_gain, self.first_gain = (
            (Gain(1.0), Gain(0.0)) if given.residual_gains else (None, None)
        )

    def forward(
        self,
        x_BTD: Tensor,
        first_BTD: Tensor,
        sight: Sight,
        place: Place,
        at_BM: Tensor | None = None,
        real_R: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """[B, T, D] -> [B, T, D], or [B, M, D] where only the positions `at_BM` are asked for; and
        how a mixture routed the tokens.

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
            x_BTD + around.after(self.attention(queries_BTD, normed_BTD, sight, place))
        )
        if real_R is not None:
            x_BTD = x_BTD.flatten(0, 1).index_select(0, real_R)[None]
        around, routing = self.ffn_norm, None
        y_BTD = self.ffn(around.before(x_BTD))
        if isinstance(self.ffn, Moe):
            y_BTD, routing = y_BTD
        return around.sum(x_BTD + around.after(y_BTD)), routing

    def remember(self, x_BTD: Tensor, sight: Sight, place: Place) -> None:
        """Write keys and values of these inputs in the cache, and nothing else."""
        self.attention.keys_and_values(self.attention_norm.before(x_BTD), sight, place)
