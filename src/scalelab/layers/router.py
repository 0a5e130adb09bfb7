"""Which experts a token is sent to, and with what weight.

B lanes, T positions, D width, N tokens (B T), E routed experts, K experts of a token, C tokens of
an expert in a sequence, R rows: every pair of a token and an expert that takes it, expert by
expert.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.layers import spec
from scalelab.layers.parameters import Linear

TINY = 1e-20
"""Keeps a sum of scores from being zero, as in DeepSeek-V3's own code."""


class Scores(NamedTuple):
    """What the router says of each token and expert, in fp32."""

    logits_BTE: Tensor
    score_BTE: Tensor
    """Softmax or sigmoid of the logits: a gate, before renormalisation and scale."""
    share_BTE: Tensor
    """The scores of a token, made to sum to 1."""

    def entropy(self) -> Tensor:
        """Mean over tokens of the entropy of `share_BTE`, in nats: a scalar."""
        return torch.special.entr(self.share_BTE.detach()).sum(-1).mean()


class Sent(NamedTuple):
    """The rows, sorted by expert."""

    token_R: Tensor
    """The token of a row, int64."""
    gate_R: Tensor
    """The weight of the expert's output for the token, fp32: the router learns through it."""
    ends_E: Tensor
    """Where the rows of an expert end, int32."""
    load_BE: Tensor
    """Tokens of a sequence that an expert takes, fp32."""
    dropped: Tensor
    """Tokens that no expert takes, fp32: a scalar."""
    slot_NK: Tensor | None
    """The row of a token's k-th expert, where tokens choose: then all have K."""


class Router(nn.Module):
    """Scores of the experts from one matrix, in fp32 also under autocast: in half precision the
    choice would be noise.
    """

    def __init__(self, config: spec.Moe, width: int) -> None:
        super().__init__()
        self.config = config
        self.linear = Linear(width, config.experts, role="router")

    def forward(self, x_BTD: Tensor) -> Scores:
        """[B, T, D] -> the scores of every expert."""
        with torch.autocast(x_BTD.device.type, enabled=False):
            logits_BTE = F.linear(x_BTD.float(), self.linear.weight.float())
            if self.config.gate == "softmax":
                score_BTE = share_BTE = logits_BTE.softmax(-1)
            else:
                score_BTE = logits_BTE.sigmoid()
                share_BTE = score_BTE / (score_BTE.sum(-1, keepdim=True) + TINY)
        return Scores(logits_BTE, score_BTE, share_BTE)

    def send(self, scores: Scores, bias_E: Tensor) -> Sent:
        """The choice, on scores plus bias, and the gates, from the scores alone."""
        if self.config.choice == "expert":
            return self._experts_choose(scores.score_BTE)
        return self._tokens_choose(scores.score_BTE, bias_E)

    def _tokens_choose(self, score_BTE: Tensor, bias_E: Tensor) -> Sent:
        """The K best experts of each token (DeepSeek-V3, arXiv 2412.19437, eq. 12-16); of equal
        ones the first.
        """
        lanes, length, experts = score_BTE.shape
        chosen = self.config.chosen
        ranked_BTE = torch.sort(score_BTE.detach() + bias_E, stable=True, descending=True).indices
        expert_BTK = ranked_BTE[..., :chosen]
        gate_BTK = score_BTE.gather(-1, expert_BTK)
        if self.config.renormalise:
            gate_BTK = gate_BTK / (gate_BTK.sum(-1, keepdim=True) + TINY)
        order_R = expert_BTK.flatten().argsort(stable=True)
        slot_R = torch.empty_like(order_R).scatter_(
            0, order_R, torch.arange(len(order_R), device=order_R.device)
        )
        load_BE = score_BTE.new_zeros(lanes, experts).scatter_add_(
            1, expert_BTK.flatten(1), score_BTE.new_ones(lanes, length * chosen)
        )
        return Sent(
            token_R=order_R // chosen,
            gate_R=self.config.scale * gate_BTK.flatten().index_select(0, order_R),
            ends_E=load_BE.sum(0).to(torch.int32).cumsum(0, dtype=torch.int32),
            load_BE=load_BE,
            dropped=score_BTE.new_zeros(()),
            slot_NK=slot_R.unflatten(0, (lanes * length, chosen)),
        )

    def _experts_choose(self, score_BTE: Tensor) -> Sent:
        """The C = ceil(T K / E) best tokens of each sequence for each expert (arXiv 2202.09368); of
        equal ones the first.

        A bias would move all tokens of an expert alike and change nothing, so there is none here.
        Gates are renormalised over the experts that took a token.
        """
        lanes, length, experts = score_BTE.shape
        capacity = math.ceil(length * self.config.chosen / experts)
        score_EBT = score_BTE.permute(2, 0, 1).contiguous()
        position_EBC = torch.sort(score_EBT.detach(), stable=True, descending=True).indices[
            ..., :capacity
        ]
        gate_EBC = score_EBT.gather(-1, position_EBC)
        token_EBC = position_EBC + length * torch.arange(lanes, device=score_BTE.device)[:, None]
        taken_N = gate_EBC.new_zeros(lanes * length).index_add(
            0, token_EBC.flatten(), gate_EBC.new_ones(gate_EBC.numel())
        )
        if self.config.renormalise:
            sum_N = gate_EBC.new_zeros(lanes * length).index_add(
                0, token_EBC.flatten(), gate_EBC.flatten()
            )
            gate_EBC = gate_EBC / (sum_N[token_EBC] + TINY)
        return Sent(
            token_R=token_EBC.flatten(),
            gate_R=self.config.scale * gate_EBC.flatten(),
            ends_E=lanes
            * capacity
            * torch.arange(1, experts + 1, device=score_BTE.device, dtype=torch.int32),
            load_BE=score_BTE.new_full((lanes, experts), capacity),
            dropped=(taken_N == 0).sum().to(score_BTE.dtype),
            slot_NK=None,
        )
