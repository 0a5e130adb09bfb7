"""Cross-entropy with a backward pass by hand.

N predictions, n of them in a block, V vocabulary, D width.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

LOG2_E = math.log2(math.e)
BLOCK = 2**18
"""Logits of a block: a megabyte stays in the processor's cache."""

FEW, ROWS = 64, 256
"""Where a block of that many logits would have fewer than FEW rows it has ROWS: each block reads
the whole weight and adds to the whole gradient, which costs more than what falls out of the cache.
"""


def cross_entropy(logits_NV: Tensor, label_N: Tensor) -> Tensor:
    """-ln p(label) of each prediction, [N], in nats; computed in fp32."""
    return _CrossEntropy.apply(logits_NV, label_N)[0]


def cross_entropy_and_partition(logits_NV: Tensor, label_N: Tensor) -> tuple[Tensor, Tensor]:
    """`cross_entropy`, and the log-partition (ln of the sum of exp) of each prediction's logits,
    [N], from the same pass.
    """
    return _CrossEntropy.apply(logits_NV, label_N)


class _CrossEntropy(Function):
    """F.cross_entropy without reduction, and logsumexp; on a CPU in a third of their time (powers
    of two, no zero-filled gradient).
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, label_N: Tensor) -> tuple[Tensor, Tensor]:
        ctx.dtype = logits_NV.dtype
        logits_NV = logits_NV.float()
        most_N1 = logits_NV.amax(1, keepdim=True)
        scaled_NV = torch.add(most_N1 * -LOG2_E, logits_NV, alpha=LOG2_E)
        gold_N1 = scaled_NV.gather(1, label_N[:, None])
        weights_NV = scaled_NV.exp2_()
        sum_N1 = weights_NV.sum(1, keepdim=True)
        ctx.save_for_backward(weights_NV, sum_N1, label_N)
        return (sum_N1.log2() - gold_N1).squeeze(1) / LOG2_E, (
            sum_N1.log2() / LOG2_E + most_N1
        ).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        weights_NV, sum_N1, label_N = ctx.saved_tensors
        grad_N1, partition_grad_N1 = (grad_N[:, None] for grad_N in grads)
        d_logits_NV = weights_NV * ((grad_N1 + partition_grad_N1) / sum_N1)
        return d_logits_NV.scatter_add_(1, label_N[:, None], -grad_N1).to(ctx.dtype), None


def summed_cross_entropy(x_ND: Tensor, weight_VD: Tensor, label_N: Tensor) -> Tensor:
    """Sum of -ln p(label) over predictions of logits x W^T, in nats, block by block: the logits
    never stand in memory at once.

    For a CPU and fp32: as fast as a product and its cross-entropy with a vocabulary of some
    hundreds, and faster beyond. Under torch.compile, which would unroll the loop and be no faster
    for it, all of them are one product: the logits do stand in memory.
    """
    if torch.compiler.is_compiling():
        return cross_entropy(torch.mm(x_ND, weight_VD.t()), label_N).sum()
    return _Blocks.apply(x_ND, weight_VD, label_N)


class _Blocks(Function):
    """The gradients are computed in the forward pass, while a block's logits are at hand."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, label_N: Tensor) -> Tensor:
        size = _rows(weight_VD)
        nats, d_weight_VD = x_ND.new_zeros(()), torch.zeros_like(weight_VD)
        d_x: list[Tensor] = []
        for x_nD, label_n in zip(x_ND.split(size), label_N.split(size), strict=True):
            scaled_nV = torch.mm(x_nD * LOG2_E, weight_VD.t())
            scaled_nV.sub_(scaled_nV.amax(1, keepdim=True))
            gold_n1 = scaled_nV.gather(1, label_n[:, None])
            sum_n1 = scaled_nV.exp2_().sum(1, keepdim=True)
            nats += (sum_n1.log2() - gold_n1).sum() / LOG2_E
            d_logits_nV = scaled_nV.mul_(sum_n1.reciprocal()).scatter_add_(
                1, label_n[:, None], -torch.ones_like(gold_n1)
            )
            d_x.append(torch.mm(d_logits_nV, weight_VD))
            d_weight_VD.addmm_(d_logits_nV.t(), x_nD)
        ctx.save_for_backward(torch.cat(d_x), d_weight_VD)
        return nats

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        d_x_ND, d_weight_VD = ctx.saved_tensors
        return d_x_ND * grads[0], d_weight_VD * grads[0], None


def _rows(weight_VD: Tensor) -> int:
    """Predictions in a block."""
    rows = BLOCK // len(weight_VD)
    return rows if rows >= FEW else ROWS
