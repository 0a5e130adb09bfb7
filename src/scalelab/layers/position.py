"""Rotary positions (Su et al. 2021).

B lanes, T positions, H heads, W width of a head, P = W/2 pairs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Turn = tuple[Tensor, Tensor]
"""Cosines of the angles, for both halves of a head [W, B or 1, T], and sines [P, B or 1, T]."""


class Rope(nn.Module):
    """Turns pair p of a head by position * theta^(-p/P) radians; a pair is feature p and feature p
    + P.
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

    def turn(self, position_BT: Tensor) -> Turn:
        """The turn of the given positions [B or 1, T]."""
        return self.cos_WT[:, position_BT], self.sin_PT[:, position_BT]


def rotate(x_HWBT: Tensor, turn: Turn) -> Tensor:
    """The heads turned; computed in fp32, returned in the dtype of x."""
    return _Rotation.apply(x_HWBT, *turn)


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
