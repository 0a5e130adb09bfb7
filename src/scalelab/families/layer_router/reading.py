"""What a router over layers did with some sequences, and what a loss or an analysis may ask of it.

B lanes (of REINFORCE: roll-outs times sequences), T positions, M positions asked for, D width, E
layers of the pool, K of them that are mixed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from scalelab.layers.moe import Routing


class Route(NamedTuple):
    """Which layers the tokens took at one step."""

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


class Reading(NamedTuple):
    """One pass over some sequences. Roll-out r of sequence b is lane r * sequences + b."""

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
