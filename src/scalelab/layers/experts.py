"""Routed experts: E feed-forward networks, of which each token meets the few that it is sent to.

N tokens, D width, E experts, F hidden width, R rows (pairs of a token and an expert that takes it,
expert by expert), K experts of a token.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.layers.expert_loop import expert_loop
from scalelab.layers.parameters import Stack
from scalelab.layers.router import Sent
from scalelab.layers.spec import Activation

ALIGNMENT = 16
"""Bytes that a row's stride must be a multiple of in F.grouped_mm."""


class Experts(nn.Module):
    """sum of gate * down(f(up x)) over the experts of a token: no token is dropped,
    none is padded.
    """

    def __init__(self, kind: Activation, experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.kind: Activation = kind
        self.hidden = hidden
        self.up = Stack(experts, width, *([hidden, hidden] if kind == "swiglu" else [hidden]))
        self.down = Stack(experts, hidden, width, residual=True)

    def forward(self, x_ND: Tensor, sent: Sent) -> Tensor:
        """[N, D] -> [N, D], in fp32; the products are computed in autocast's precision where it is
        on.
        """
        device = x_ND.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
        )
        if device == "cuda" and self._groups(dtype):
            return self.grouped(x_ND, sent, dtype)
        return expert_loop(
            x_ND,
            self.up.weight,
            self.down.weight,
            sent.gate_R,
            sent.token_R,
            sent.ends_E,
            self.kind,
            dtype,
        )[0]

    def grouped(self, x_ND: Tensor, sent: Sent, dtype: torch.dtype) -> Tensor:
        """The same by two grouped matrix products, without waiting for the device to say how many
        rows each expert has.
        """
        up_EDG, down_EFD = (
            self.up.weight.to(dtype).transpose(1, 2),
            self.down.weight.to(dtype).transpose(1, 2),
        )
        rows_RD = x_ND.to(dtype).index_select(0, sent.token_R)
        hidden_RG = F.grouped_mm(rows_RD, up_EDG, offs=sent.ends_E)
        weighted_RF = activate(hidden_RG, self.kind) * sent.gate_R.to(dtype)[:, None]
        out_RD = F.grouped_mm(weighted_RF, down_EFD, offs=sent.ends_E).float()
        if sent.slot_NK is None:
            return torch.zeros_like(x_ND, dtype=torch.float32).index_add(0, sent.token_R, out_RD)
        # Gathered and summed where each token has K rows: atomic additions on a device come in no
        # fixed order.
        return (
            out_RD.index_select(0, sent.slot_NK.flatten()).unflatten(0, sent.slot_NK.shape).sum(1)
        )

    def reference(self, x_ND: Tensor, gate_NE: Tensor) -> Tensor:
        """The same by the definition: every expert on every token, gates of 0 where it is not sent.

        The truth that the others must meet.
        """
        out_ND = torch.zeros_like(x_ND)
        for up_GD, down_DF, gate_N in zip(
            self.up.weight, self.down.weight, gate_NE.t(), strict=True
        ):
            out_ND = out_ND + gate_N[:, None] * F.linear(
                activate(F.linear(x_ND, up_GD), self.kind), down_DF
            )
        return out_ND

    def _groups(self, dtype: torch.dtype) -> bool:
        """Whether F.grouped_mm takes this: under torch.compile bf16 alone, and strides of whole 16
        bytes.
        """
        aligned = all(
            size * dtype.itemsize % ALIGNMENT == 0
            for size in (self.up.weight.shape[2], self.hidden)
        )
        return dtype == torch.bfloat16 and aligned


def activate(hidden: Tensor, kind: Activation) -> Tensor:
    """[..., G] -> [..., F]: silu(first half) * second half, the exact GELU, or the squared ReLU."""
    if kind == "swiglu":
        gate, up = hidden.chunk(2, dim=-1)
        return F.silu(gate) * up
    if kind == "gelu":
        return F.gelu(hidden)
    if kind == "relu2":
        return F.relu(hidden).square()
    assert_never(kind)
