"""What a router adds to the loss so that the load of its experts is even.

B sequences, T tokens of a sequence, E routed experts, K experts of a token.
"""

import math

from torch import Tensor

from scalelab.models.layers.router import Scores
from scalelab.spec import ffn as spec


def penalty(given: spec.Moe, scores: Scores, load_BE: Tensor) -> Tensor:
    """The sum of the penalties that are on, each times its coefficient: a scalar, zero where none is. Means over the micro-batch."""
    balance, total = given.balance, load_BE.new_zeros(())
    if balance.loss:
        per_batch = balance.per == "batch"
        uneven = load_per_batch(scores.share_BTE, load_BE) if per_batch else load_per_sequence(scores.share_BTE, load_BE)
        total = total + balance.loss * uneven
    if balance.entropy:
        total = total - balance.entropy * entropy_of_mean(scores.logits_BTE)
    if balance.z_loss:
        total = total + balance.z_loss * scores.logits_BTE.logsumexp(-1).square().mean()
    return total


def load_per_batch(share_BTE: Tensor, load_BE: Tensor) -> Tensor:
    """sum_i f_i P_i over the whole micro-batch (Switch, arXiv 2101.03961, eq. 4, for K experts of a token): 1 when even, at most E.

    f_i is E times the share of the assignments that go to expert i, P_i the mean share of its scores. The gradient flows through P.
    """
    return load_per_sequence(share_BTE.flatten(0, 1)[None], load_BE.sum(0, keepdim=True))


def load_per_sequence(share_BTE: Tensor, load_BE: Tensor) -> Tensor:
    """The same within each sequence, mean over sequences (DeepSeek-V3, arXiv 2412.19437, eq. 17-20): f_i = E / (K T) times the load."""
    times_even_BE = load_BE * (load_BE.shape[1] / load_BE.sum(1, keepdim=True))
    return (times_even_BE * share_BTE.mean(1)).sum(1).mean()


def entropy_of_mean(logits_BTE: Tensor) -> Tensor:
    """Entropy, in nats, of the softmax of the logits, averaged over all tokens of a layer (sigma-MoE, arXiv 2310.10837, eq. 20-21)."""
    log_mean_E = logits_BTE.log_softmax(-1).flatten(0, 1).logsumexp(0) - math.log(logits_BTE[..., 0].numel())
    return -(log_mean_E.exp() * log_mean_E).sum()
