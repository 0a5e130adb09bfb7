"""What other packages may ask of a language model, whatever its family.

B lanes, T positions of a call, M targets, D width, V vocabulary.
"""

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, Self, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.family import Family
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.objective import Batch, Loss, summed_loss
from scalelab.layers.linear import Embedding, Linear, initialise
from scalelab.layers.moe import Routing

Given = TypeVar("Given", bound=Family)


class Cache(Protocol):
    """What a model remembers of the tokens it has read: keys and values, or a state."""

    @property
    def lanes(self) -> int:
        """Number of sequences."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all lanes."""
        ...

    def select(self, lanes: Tensor) -> Self:
        """A cache of these lanes only (int64 indices), in their order."""
        ...


class LanguageModel(nn.Module, Generic[Given], ABC):
    """A model over at most `context` positions. Its weights are drawn by `initialise`.

    Set `recompute` to keep only the inputs of the layers while training, and to compute the rest
    again in the backward pass.
    """

    given: Given
    """The resolved spec."""
    context: int
    """Most positions that the model reads."""
    depth: int
    """Layers that a token goes through, by which depth scaling divides."""
    wider: float
    """The width by the base width of muP; 1 without muP."""
    recompute: bool
    embedding: Embedding
    layers: nn.ModuleList
    output: Linear | None
    """The output matrix; None if it is the embedding's."""

    def initialise(self, seed: int) -> Self:
        """Draw the weights: the same numbers for the same seed on every device."""
        initialise(self, self.given.init, self.depth, seed, self.wider)
        return self

    def forward(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> Tensor:
        """int64 tokens [B, T] -> logits of the next token [B, T, V], or [B, M, V] at the layout's
        targets.
        """
        return self.head(self.trunk(tokens_BT, layout))

    def trunk(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> Tensor:
        """The features of `run` alone."""
        return self.run(tokens_BT, layout)[0]

    @abstractmethod
    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """tokens [B, T] -> features [B, T, D] after the last norm, to which `head` may be applied
        where a loss falls; and how the tokens were routed, layer by layer or step by step. Where
        the layout has targets, the features at these alone, [B, M, D].
        """

    def head(self, x: Tensor) -> Tensor:
        """Features [..., D] -> logits [..., V]."""
        return F.linear(x, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix, [V, D]."""
        return self.embedding.weight if self.output is None else self.output.weight

    @property
    def head_is_product(self) -> bool:
        """Whether the logits are a product with `head_weight` and nothing more."""
        return True

    def loss(self, batch: Batch, z_loss: bool = False) -> Loss:
        """The parts of the training loss over a micro-batch; `z_loss` asks for that part too."""
        return summed_loss(self, batch, z_loss)

    def rebalance(self, load_LE: Tensor) -> None:
        """Loss-free balancing after an update, of the tokens [L, E] that each layer's experts (or
        each step's layers) took in it. Nothing is balanced unless a family says so.
        """

    @abstractmethod
    def new_cache(self, lanes: int, length: int) -> Cache:
        """An empty cache for `lanes` sequences of at most `length` positions, in the precision that
        autocast computes keys in.
        """

    @abstractmethod
    def decode(self, tokens_BT: Tensor, cache: Any, layout: Layout = PLAIN) -> Tensor:
        """Logits [B, T, V] of the tokens that follow those in the cache, which `new_cache` made;
        writes it.

        Of the layout, `start_B`, `length_B` and `prefix_B` have a meaning. A call that brings the
        beginning of a prefix must bring all of it.
        """
