"""Matrices and embeddings without biases, and how their weights begin.

B lanes, T positions, D width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from scalelab.core.seeds import derive
from scalelab.layers.spec import Init, Role


class Linear(nn.Module):
    """y = x W^T.

    Several outputs of one input stand under each other in one matrix: one product is faster than
    three.

    `outputs` are their widths, by which Glorot's initialisation knows the fan-out of each.
    `residual` marks a projection that writes to the residual stream, which depth scaling makes
    smaller. `role`: see `layers.spec.Role`.
    """

    def __init__(
        self, width: int, *outputs: int, residual: bool = False, role: Role = "matrix"
    ) -> None:
        super().__init__()
        self.outputs, self.residual = outputs, residual
        self.role: Role = role
        self.weight = nn.Parameter(torch.empty(sum(outputs), width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width] -> [..., outputs]."""
        return F.linear(x, self.weight)

    def features_first(self, x_BTD: Tensor) -> Tensor:
        """[B, T, width] -> [outputs, B, T]: the product transposes for free, and what follows reads
        long rows.
        """
        return torch.mm(self.weight, x_BTD.flatten(0, 1).t()).unflatten(1, x_BTD.shape[:2])

    def from_features(self, x_FBT: Tensor) -> Tensor:
        """[width, B, T] -> [B, T, outputs]: back from `features_first`."""
        return F.linear(x_FBT.flatten(1).t(), self.weight).unflatten(0, x_FBT.shape[1:])


class Stack(nn.Module):
    """A matrix for each expert, [E, outputs, width]; `outputs` and `residual` mean what they mean
    for a `Linear`.
    """

    role: Role = "matrix"

    def __init__(self, experts: int, width: int, *outputs: int, residual: bool = False) -> None:
        super().__init__()
        self.outputs, self.residual = outputs, residual
        self.weight = nn.Parameter(torch.empty(experts, sum(outputs), width))


class Embedding(nn.Module):
    """A learned vector for each index."""

    role: Role = "embedding"

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width))

    def forward(self, index: Tensor) -> Tensor:
        """int64 [...] -> [..., width]."""
        return (
            _Lookup.apply(index, self.weight)
            if self.weight.is_cpu
            else F.embedding(index, self.weight)
        )


class _Lookup(Function):
    """F.embedding, whose backward pass on a CPU is several times slower than adding up rows."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = weight.shape[0]
        return weight.index_select(0, index.flatten()).unflatten(0, index.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (index,) = ctx.saved_tensors
        (grad,) = grads
        return None, grad.new_zeros(ctx.size, grad.shape[-1]).index_add_(
            0, index.flatten(), grad.flatten(0, -2)
        )


def initialise(model: nn.Module, init: Init, layers: int, seed: int, wider: float = 1.0) -> None:
    """Draw every matrix and embedding of the model; norms begin as the identity.

    `wider` is the width over muP's base width.

    Drawn on the CPU in fp32, each parameter from a stream of its own name: the same numbers on
    every device, and a part more or less moves no other part.
    """
    for name, module in model.named_modules():
        if not isinstance(module, Linear | Stack | Embedding) or module.weight.is_meta:
            continue
        generator = torch.Generator("cpu").manual_seed(derive(seed, "init", name))
        drawn = torch.empty(module.weight.shape)
        if isinstance(module, Embedding):
            drawn.normal_(0.0, init.std, generator=generator)
        else:
            _draw(drawn, module, init, generator)
            if module.residual and init.depth_scaled:
                drawn /= math.sqrt(2 * layers)
            drawn *= _mup_scale(module.role, init, wider)
        with torch.no_grad():
            module.weight.copy_(drawn)


def _draw(drawn: Tensor, module: Linear | Stack, init: Init, generator: torch.Generator) -> None:
    fan_in = drawn.shape[-1]
    if init.kind == "normal":
        drawn.normal_(0.0, init.std, generator=generator)
    elif init.kind == "fan_in":
        drawn.normal_(0.0, 1 / math.sqrt(fan_in), generator=generator)
    else:
        for part in drawn.split(list(module.outputs), dim=-2):
            bound = math.sqrt(6 / (fan_in + part.shape[-2]))  # Glorot and Bengio 2010, eq. 16
            part.uniform_(-bound, bound, generator=generator)


def _mup_scale(role: Role, init: Init, wider: float) -> float:
    """What drawn weights are multiplied by under muP: all is as usual at the base width, the
    variance of a hidden matrix goes as 1 / fan_in, and that of the head, whose logits are scaled
    instead, stays (arXiv 2203.03466, table 8).
    """
    if role == "head":
        return math.sqrt(wider) if init.kind == "fan_in" else 1.0
    return 1 / math.sqrt(wider) if init.kind == "normal" else 1.0
