"""What other packages may ask of a language model, whatever its family.

B lanes, T positions of a call, M targets, D width, V vocabulary, L layers, E experts, or layers of
a pool, K of them that are mixed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.family import Family
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.objective import Batch, Loss, summed_loss
from scalelab.layers.moe import Routing
from scalelab.layers.parameters import Embedding, Linear, initialise

Config = TypeVar("Config", bound=Family)


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


class Route(NamedTuple):
    """Which layers of a pool the tokens took at one step of a router over layers."""

    chosen_BTK: Tensor
    """int64, from 0, the most probable first; identity layers stand behind the others. -1 where a
    token had halted.
    """
    probability_BTE: Tensor
    """What each layer of the pool was given, fp32; 0 for one that this step may not choose.

    A halted token's mean nothing.
    """
    log_prob_BT: Tensor
    """ln of the probability of what was drawn, with its gradient; zeros where nothing is drawn or a
    token had halted.
    """
    routing: Routing
    """The same as of a mixture of experts: a step is one layer of it, the pool its experts."""


class RouterOutput(NamedTuple):
    """One pass of a router over layers. Roll-out r of sequence b is lane r * sequences + b."""

    final_BMD: Tensor
    """Features that the model predicts from, ready for `head`."""
    each_step: Sequence[Tensor]
    """Features [B, M, D] that it would predict from after each step; empty unless the loss needs
    them or they were asked for.
    """
    weights: Sequence[Tensor]
    """Weight [B, M] of each step's loss, summing to 1 over the steps; empty where the loss is of
    `final_BMD` alone.
    """
    routes: Sequence[Route]
    """Step by step."""
    steps_BT: Tensor
    """Steps that each token went through before it halted, fp32; of PonderNet, while training,
    those that are expected.
    """
    cost_BT: Tensor | None
    """What each token's thinking costs, with its coefficient; None where none may halt."""
    penalty: Tensor
    """What is added to the loss besides the routings' own penalties (halting, likeness of layers):
    a scalar, a mean over all positions, of which padding costs nothing.
    """
    flops: int
    """FLOPs of this forward pass as they were really run, the head counted in wherever a loss
    falls.
    """


class LanguageModel(nn.Module, Generic[Config], ABC):
    """A model over at most `context` positions. Its weights are drawn by `initialise`.

    Set `recompute` to keep only the inputs of the layers while training, and to compute the rest
    again in the backward pass.
    """

    config: Config
    """The resolved spec."""
    context: int
    """Most positions that the model reads."""
    recompute: bool
    embedding: Embedding
    layers: nn.ModuleList
    output: Linear | None
    """The output matrix; None if it is the embedding's."""

    def initialise(self, seed: int) -> Self:
        """Draw the weights: the same numbers for the same seed on every device."""
        config = self.config
        initialise(self, config.init, config.depth, seed, config.mup_factor)
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

    def run_steps(
        self, tokens_BT: Tensor, layout: Layout = PLAIN, *, each_step: bool = False
    ) -> RouterOutput:
        """Of a model with a `layer_pool`: the features of `run` and the routes that led there; with
        `each_step` also the features that it would predict from after each step.

        Padding is computed like the rest and counts in no penalty, load or entropy; its routes are
        -1.
        """
        raise NotImplementedError(f"{type(self).__name__} does not choose its layers")

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


def pick(x_BTD: Tensor, at_BM: Tensor) -> Tensor:
    """Features [B, T, D] -> those at the positions `at_BM` of their lanes, [B, M, D]."""
    lanes, length, _ = x_BTD.shape
    row_BM = at_BM + length * torch.arange(lanes, device=at_BM.device)[:, None]
    return x_BTD.flatten(0, 1).index_select(0, row_BM.flatten()).unflatten(0, at_BM.shape)
