"""Rotary positions, and softmax attention: by hand where all scores fit the processor's cache, else
by the fused kernels.

B lanes, H query heads, K key heads, G = H/K query heads that share a key head, W width of a head, P
= W/2 pairs, T queries, S keys; N = B K groups and R = G T queries of a group.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

DENSE = 2**24
"""Scores up to this many are computed at once by hand.

On one CPU core at width 16 that takes a third of the fused kernels' time, which work head by head
on matrices too small for them.
"""
BLOCK = 64
"""Queries of a causal block, at most."""
LOG2_E = math.log2(math.e)

Angles = tuple[Tensor, Tensor]
"""Cosines of the angles, for both halves of a head [W, B or 1, T], and sines [P, B or 1, T]."""


class Rope(nn.Module):
    """Rotary positions (Su et al. 2021): pair p of a head, which is feature p and feature p + P, is
    turned by position * theta^(-p/P) radians.
    """

    cos_WT: Tensor
    sin_PT: Tensor

    def __init__(self, head_width: int, context: int, theta: float) -> None:
        super().__init__()
        pair = torch.arange(
            0, head_width, 2, dtype=torch.float64, device="cpu"
        )  # some devices have no float64
        angle_PT = torch.outer(
            theta ** (-pair / head_width), torch.arange(context, dtype=torch.float64, device="cpu")
        )
        device = torch.get_default_device()
        self.register_buffer(
            "cos_WT", angle_PT.cos().repeat(2, 1).float().to(device), persistent=False
        )
        self.register_buffer("sin_PT", angle_PT.sin().float().to(device), persistent=False)

    def angles(self, position_BT: Tensor) -> Angles:
        """The angles of positions [B or 1, T]."""
        return self.cos_WT[:, position_BT], self.sin_PT[:, position_BT]


def rotate(x_HWBT: Tensor, angles: Angles) -> Tensor:
    """The heads turned; computed in fp32, returned in the dtype of x."""
    return _Rotation.apply(x_HWBT, *angles)


class _Rotation(Function):
    """A rotation; its backward pass is the rotation back, and keeps no heads."""

    @staticmethod
    def forward(ctx: Any, x_HWBT: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x_HWBT, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grads[0], cos, sin, -1), None, None


def _rotated(x_HWBT: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    first, second = x_HWBT.chunk(2, dim=1)
    turned_HWBT = x_HWBT * cos
    turned_first, turned_second = turned_HWBT.chunk(2, dim=1)
    turned_first.addcmul_(second, sin, value=-way)
    turned_second.addcmul_(first, sin, value=way)
    return turned_HWBT.to(x_HWBT.dtype)


def attend(
    q_BHWT: Tensor,
    k_BKWS: Tensor,
    v_BKWS: Tensor,
    bias: Tensor | None,
    causal: bool = True,
    window: int | None = None,
) -> Tensor:
    """What the queries see, [B, H, W, T]: values weighted by softmax(q k / sqrt(W) + bias).

    `bias` [B or 1, T, S] holds 0 where a query may look and -inf elsewhere. Without it a query sees
    every key, or where attention is `causal` those up to its own position, the last `window` of
    them. Every query must see something.
    """
    queries, keys = q_BHWT.shape[3], k_BKWS.shape[3]
    if queries == 1 and bias is not None and not torch.is_grad_enabled() and not v_BKWS.is_meta:
        return _decode(q_BHWT, k_BKWS, v_BKWS, bias)
    scores = q_BHWT.shape[0] * q_BHWT.shape[1] * queries * keys
    if scores <= DENSE and v_BKWS.is_cpu and v_BKWS.dtype == torch.bfloat16:
        # Matrices so small are no slower in fp32 on a CPU, and the backward pass of its fused
        # kernel is eight times slower in bf16.
        with torch.autocast("cpu", enabled=False):
            return attend(q_BHWT.float(), k_BKWS.float(), v_BKWS.float(), bias, causal, window).to(
                v_BKWS.dtype
            )
    if (
        scores <= DENSE and v_BKWS.dtype == torch.float32 and not v_BKWS.is_meta
    ):  # FLOPs are counted on meta, of all T x S scores
        if bias is None and causal:
            return _causal(q_BHWT, k_BKWS, v_BKWS, window)
        return _dense(
            q_BHWT, k_BKWS, v_BKWS, q_BHWT.new_zeros(1, queries, keys) if bias is None else bias
        )
    if bias is None and window is not None:
        bias = _band(q_BHWT, 0, queries, 0, keys, window)
    # The fused kernels take features that lie side by side, and others give way to one that is
    # several times slower.
    q_BHTW, k_BKSW, v_BKSW = (x.transpose(2, 3).contiguous() for x in (q_BHWT, k_BKWS, v_BKWS))
    seen_BHTW = F.scaled_dot_product_attention(
        q_BHTW,
        k_BKSW,
        v_BKSW,
        attn_mask=None if bias is None else bias.to(q_BHWT.dtype).unsqueeze(1),
        is_causal=bias is None and causal,
        enable_gqa=q_BHWT.shape[1] != k_BKWS.shape[1],
    )
    return seen_BHTW.transpose(2, 3)


def _causal(q_BHWT: Tensor, k_BKWS: Tensor, v_BKWS: Tensor, window: int | None) -> Tensor:
    """Block by block of queries, each with the keys up to its end: less is computed that the mask
    would throw away.
    """
    seen: list[Tensor] = []
    length = q_BHWT.shape[3]
    size = math.ceil(length / math.ceil(length / BLOCK))  # even blocks
    for start in range(0, length, size):
        q_BHWt = q_BHWT[..., start : start + size]
        end = start + q_BHWt.shape[3]
        first = 0 if window is None else max(0, start - window + 1)
        bias = _band(q_BHWT, start, end, first, end, window)
        seen.append(_dense(q_BHWt, k_BKWS[..., first:end], v_BKWS[..., first:end], bias))
    return seen[0] if len(seen) == 1 else torch.cat(seen, dim=3)


def _band(like: Tensor, start: int, end: int, first: int, last: int, window: int | None) -> Tensor:
    """[1, T, S]: the bias of queries from `start` to `end` and keys from `first` to `last`."""
    bias = like.new_full((1, end - start, last - first), -math.inf).triu(1 + start - first)
    return (
        bias
        if window is None
        else bias + torch.full_like(bias, -math.inf).tril(start - first - window)
    )


def _dense(q_BHWT: Tensor, k_BKWS: Tensor, v_BKWS: Tensor, bias: Tensor) -> Tensor:
    lanes, heads, width, queries = q_BHWT.shape
    kv_heads, keys = k_BKWS.shape[1], k_BKWS.shape[3]
    shared = heads // kv_heads
    q_BKWGT = q_BHWT.unflatten(1, (kv_heads, shared)).transpose(2, 3)
    q_NWR = q_BKWGT.reshape(lanes * kv_heads, width, shared * queries)
    k_NWS, v_NWS = (x.reshape(lanes * kv_heads, width, keys) for x in (k_BKWS, v_BKWS))
    o_NWR = _Softmax.apply(q_NWR, k_NWS, v_NWS, bias[:, None, None])
    return (
        o_NWR.view(lanes, kv_heads, width, shared, queries)
        .transpose(2, 3)
        .reshape(lanes, heads, width, queries)
    )


def _decode(q_BHW1: Tensor, k_BKWS: Tensor, v_BKWS: Tensor, bias: Tensor) -> Tensor:
    """One query of each lane, as in decoding.

    A cache holds its features last, and products in that order are ten times as fast.
    """
    lanes, heads, width, _ = q_BHW1.shape
    kv_heads, keys = k_BKWS.shape[1], k_BKWS.shape[3]
    q_NGW = q_BHW1.reshape(lanes * kv_heads, heads // kv_heads, width) * (1 / math.sqrt(width))
    k_NWS, v_NWS = (x.reshape(lanes * kv_heads, width, keys) for x in (k_BKWS, v_BKWS))
    scores_NGS = torch.bmm(q_NGW, k_NWS)
    scores_NGS.view(lanes, heads, keys).add_(bias)
    weights_NGS = scores_NGS.softmax(-1, dtype=torch.float32).to(v_NWS.dtype)
    return torch.bmm(weights_NGS, v_NWS.transpose(1, 2)).view(lanes, heads, width, 1)


class _Softmax(Function):
    """Attention over all scores at once.

    Features stand before positions, so that every product is wide in its last dimension; powers of
    two, because CPUs take them faster than powers of e; the weights stay unnormalised, because
    dividing the result is cheaper.
    """

    @staticmethod
    def forward(ctx: Any, q_NWR: Tensor, k_NWS: Tensor, v_NWS: Tensor, bias: Tensor) -> Tensor:
        lanes, queries, keys = bias.shape[0], bias.shape[3], bias.shape[4]
        q_NWR = q_NWR * (LOG2_E / math.sqrt(q_NWR.shape[1]))
        scores_NRS = torch.bmm(q_NWR.transpose(1, 2), k_NWS)
        scores_NRS.view(lanes, -1, scores_NRS.shape[1] // queries, queries, keys).add_(bias)
        weights_NRS = scores_NRS.sub_(scores_NRS.amax(-1, keepdim=True)).exp2_()
        inverse_N1R = weights_NRS.sum(-1).reciprocal_().unsqueeze(1)
        o_NWR = torch.bmm(v_NWS, weights_NRS.transpose(1, 2)).mul_(inverse_N1R)
        ctx.save_for_backward(q_NWR, k_NWS, v_NWS, weights_NRS, inverse_N1R, o_NWR)
        return o_NWR

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_NWR, k_NWS, v_NWS, weights_NRS, inverse_N1R, o_NWR = ctx.saved_tensors
        grad_NWR = grads[0] * inverse_N1R
        along_NR1 = (grad_NWR * o_NWR).sum(1).unsqueeze(2)
        d_scores_NRS = torch.bmm(grad_NWR.transpose(1, 2), v_NWS).sub_(along_NR1).mul_(weights_NRS)
        d_q_NWR = torch.bmm(k_NWS, d_scores_NRS.transpose(1, 2)).mul_(1 / math.sqrt(q_NWR.shape[1]))
        d_k_NWS = torch.bmm(q_NWR, d_scores_NRS).mul_(
            1 / LOG2_E
        )  # the kept queries carry log2(e) / sqrt(W)
        return d_q_NWR, d_k_NWS, torch.bmm(grad_NWR, weights_NRS), None
