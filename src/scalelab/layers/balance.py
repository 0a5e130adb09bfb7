"""What a router adds to the loss so that the load of its experts is even.

B sequences, T tokens of a sequence, E routed experts, K experts of a token. `alive_BT` (bool) are
the tokens that were routed, all of them where it is None.
"""

import math

import torch
from torch import Tensor

from scalelab.layers.router import Scores
from scalelab.layers.spec import Balance


def penalty(balance: Balance, scores: Scores, load_BE: Tensor) -> Tensor:
    """The sum of the penalties that are on, each times its coefficient: a scalar, zero where none
    is. Means over the micro-batch.
    """
    total = unevenness(balance, scores, load_BE)
    return total + balance.z_loss * size(scores.logits_BTE) if balance.z_loss else total


def unevenness(
    balance: Balance, scores: Scores, load_BE: Tensor, alive_BT: Tensor | None = None
) -> Tensor:
    """Of the penalties those that are about the load."""
    total = load_BE.new_zeros(())
    if balance.loss:
        uneven = load_per_batch if balance.per == "batch" else load_per_sequence
        total = total + balance.loss * uneven(scores.share_BTE, load_BE, alive_BT)
    if balance.entropy:
        total = total - balance.entropy * entropy_of_mean(scores.logits_BTE, alive_BT)
    return total


def load_per_batch(share_BTE: Tensor, load_BE: Tensor, alive_BT: Tensor | None = None) -> Tensor:
    """sum_i f_i P_i over the whole micro-batch (Switch, arXiv 2101.03961, eq. 4, for K experts of a
    token): 1 when even, at most E.

    f_i is E times the share of the assignments that go to expert i, P_i the mean share of its
    scores. The gradient flows through P.
    """
    alive_1N = None if alive_BT is None else alive_BT.flatten()[None]
    return load_per_sequence(share_BTE.flatten(0, 1)[None], load_BE.sum(0, keepdim=True), alive_1N)


def load_per_sequence(share_BTE: Tensor, load_BE: Tensor, alive_BT: Tensor | None = None) -> Tensor:
    """The same within each sequence, mean over sequences (DeepSeek-V3, arXiv 2412.19437, eq.
    17-20): f_i = E / (K T) times the load.

    A sequence without load counts as 0.
    """
    times_even_BE = load_BE * (load_BE.shape[1] / load_BE.sum(1, keepdim=True).clamp(min=1))
    if alive_BT is None:
        mean_BE = share_BTE.mean(1)
    else:
        mean_BE = (share_BTE * alive_BT[..., None]).sum(1) / alive_BT.sum(1, keepdim=True).clamp(
            min=1
        )
    return (times_even_BE * mean_BE).sum(1).mean()


def entropy_of_mean(logits_BTE: Tensor, alive_BT: Tensor | None = None) -> Tensor:
    """Entropy, in nats, of the softmax of the logits, averaged over all tokens of a layer
    (sigma-MoE, arXiv 2310.10837, eq. 20-21).
    """
    log_share_BTE = logits_BTE.log_softmax(-1)
    if alive_BT is None:
        log_mean_E = log_share_BTE.flatten(0, 1).logsumexp(0) - math.log(logits_BTE[..., 0].numel())
        return -(log_mean_E.exp() * log_mean_E).sum()
    counts_BT = alive_BT | ~alive_BT.any()  # the mean over no token has no entropy: of all, times 0
    log_mean_E = (
        log_share_BTE.masked_fill(~counts_BT[..., None], -torch.inf).flatten(0, 1).logsumexp(0)
        - counts_BT.sum().log()
    )
    return -(log_mean_E.exp() * log_mean_E).sum() * alive_BT.any()


def size(logits_BTE: Tensor, alive_BT: Tensor | None = None) -> Tensor:
    """The z-loss: squared log-sum-exp of the logits (ST-MoE, arXiv 2202.08906), a mean over all
    tokens, 0 for those that are not alive.
    """
    square_BT = logits_BTE.logsumexp(-1).square()
    return (square_BT if alive_BT is None else square_BT * alive_BT).mean()
