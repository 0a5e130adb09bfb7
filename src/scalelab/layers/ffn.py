"""Feed-forward networks. B lanes, T positions, D width, F hidden width."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from scalelab.layers import spec
from scalelab.layers.parameters import Linear


class Swiglu(nn.Module):
    """down(silu(gate x) * up x) (Shazeer 2020); gate and up are one matrix."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = Linear(width, hidden, hidden)
        self.down = Linear(hidden, width, residual=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.down.from_features(_Gated.apply(self.gate_up.features_first(x_BTD)))


class _Gated(Function):
    """silu(first half of the rows) * second half."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2)
        sigmoid = gate.sigmoid()
        ctx.save_for_backward(gate_up, sigmoid)
        return (gate * sigmoid).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gate_up, sigmoid = ctx.saved_tensors
        gate, up = gate_up.chunk(2)
        (grad,) = grads
        silu = gate * sigmoid
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2)
        torch.mul(silu, grad, out=d_up)
        torch.addcmul(silu, silu, sigmoid, value=-1, out=d_gate)  # silu'(x) = s + x s (1 - s)
        d_gate.add_(sigmoid).mul_(up).mul_(grad)
        return d_gate_up


class Mlp(nn.Module):
    """down(f(up x)), f being the exact GELU, or the squared ReLU (So et al. 2021)."""

    def __init__(self, width: int, hidden: int, kind: Literal["gelu", "relu2"]) -> None:
        super().__init__()
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width, residual=True)
        self.kind = kind

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        hidden = self.up(x_BTD)
        return self.down(F.gelu(hidden) if self.kind == "gelu" else F.relu(hidden).square())


def feed_forward(kind: spec.Activation, width: int, hidden: int) -> nn.Module:
    """One network for all tokens: [B, T, D] -> [B, T, D]."""
    return Swiglu(width, hidden) if kind == "swiglu" else Mlp(width, hidden, kind)


def ffn(config: spec.Ffn, width: int) -> nn.Module:
    """The feed-forward network of a resolved spec."""
    assert isinstance(config.width, int)
    return feed_forward(config.kind, width, config.width)
