"""Normalisation over the last dimension, and learned gains. D features."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from scalelab.layers import spec
from scalelab.layers.spec import Role


class RmsNorm(nn.Module):
    """x / rms(x) times a learned gain (Zhang and Sennrich 2019)."""

    role: Role = "gain"

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> the same shape and dtype; computed in fp32."""
        return _Rms.apply(x, self.weight, self.eps)


class _Rms(Function):
    """F.rms_norm with a backward pass by hand: a third of the passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        unit = wide * inverse
        ctx.save_for_backward(unit, inverse, gain)
        return (unit * gain).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, gain = ctx.saved_tensors
        (grad,) = grads
        product = grad * unit
        along = (product * gain).mean(
            -1, keepdim=True
        )  # the part of the gradient along x, which scaling takes away
        d_x = torch.addcmul(grad * gain, unit, along, value=-1).mul_(inverse)
        return d_x.to(grad.dtype), product.flatten(0, -2).sum(0), None


class LayerNorm(nn.Module):
    """(x - mean(x)) / std(x) times a learned gain, plus a learned bias (Ba et al. 2016)."""

    role: Role = "gain"

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Gain(nn.Module):
    """x times a learned number."""

    role: Role = "gain"

    def __init__(self, begin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), begin))

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> the same shape and dtype."""
        return x * self.weight.to(x.dtype)


def norm(given: spec.Norm, width: int) -> nn.Module:
    """The norm of a spec, over `width` features."""
    return (RmsNorm if given.kind == "rms" else LayerNorm)(width, given.eps)
