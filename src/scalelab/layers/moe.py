"""A mixture of experts.

B lanes, T positions, D width, N tokens (B T), E routed experts, K experts of a token.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalelab.layers import spec
from scalelab.layers.balance import penalty
from scalelab.layers.experts import Experts
from scalelab.layers.ffn import feed_forward
from scalelab.layers.router import Router


class Routing(NamedTuple):
    """How the tokens of one pass were routed in one layer.

    Returned, never kept: a sum over passes is right under accumulation, and a pass that activation
    checkpointing repeats is not counted twice.
    """

    penalty: Tensor
    """What the router adds to the loss, coefficients counted in: a scalar, zero where nothing
    balances by a loss.
    """
    load_E: Tensor
    """Tokens that each expert took, fp32."""
    entropy: Tensor
    """Mean over tokens of the entropy of a token's normalised scores, in nats: a scalar, at most ln
    E.
    """
    dropped: Tensor
    """Tokens that no routed expert took, fp32: a scalar, zero where the tokens choose."""
    tokens: Tensor
    """Tokens that were routed, fp32: a scalar."""


class Moe(nn.Module):
    """Shared experts, which see every token, and routed ones, weighted by their gates (DeepSeekMoE,
    arXiv 2401.06066).

    The shared experts are one network of their summed width: the sum of S networks is a network of
    S times the width.

    With `choice: expert` each expert takes its best tokens among all positions of a sequence, so
    whether an early token is taken depends on later ones: the future leaks into the past in
    training, and a token that is decoded alone is taken by every expert.
    """

    bias_E: Tensor

    def __init__(self, config: spec.Moe, width: int) -> None:
        super().__init__()
        assert isinstance(config.width, int), "a module is built from a resolved spec"
        self.config = config
        self.router = Router(config, width)
        self.experts = Experts(config.expert, config.experts, width, config.width)
        self.shared = (
            feed_forward(config.expert, width, config.shared * config.width)
            if config.shared
            else None
        )
        self.register_buffer("bias_E", torch.zeros(config.experts))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        """[B, T, D] -> [B, T, D], and how the tokens were routed."""
        scores = self.router(x_BTD)
        sent = self.router.send(scores, self.bias_E)
        routed_ND = self.experts(x_BTD.flatten(0, 1), sent)
        routed_BTD = routed_ND.unflatten(0, x_BTD.shape[:2])
        out_BTD = routed_BTD if self.shared is None else routed_BTD + self.shared(x_BTD)
        load_BE, dropped = sent.load_BE, sent.dropped
        tokens = load_BE.new_full((), x_BTD.shape[0] * x_BTD.shape[1])
        routing = Routing(
            penalty(self.config.balance, scores, load_BE),
            load_BE.sum(0),
            scores.entropy().detach(),
            dropped,
            tokens,
        )
        return out_BTD, routing

    @torch.no_grad()
    def rebalance(self, load_E: Tensor) -> None:
        """Loss-free balancing after an update: b_i += rate sign(mean load - load_i), of the tokens
        [E] of all its micro-batches.

        As in arXiv 2408.15664, algorithm 1: the moves are not centred (some trainers subtract their
        mean), which changes no choice.
        """
        if self.config.balance.bias:
            self.bias_E += self.config.balance.bias * torch.sign(load_E.mean() - load_E)
