"""The modules that hold parameters, how these begin, and what each of them is for.

B lanes, T positions, D features.
"""

import math
from typing import Any, assert_never, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from scalelab.core.seeds import derive
from scalelab.layers.spec import Init, Norm, Role


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


def norm(config: Norm, width: int) -> nn.Module:
    """The norm of a spec, over `width` features."""
    return {"rms": RmsNorm, "layer": LayerNorm}[config.kind](width, config.eps)


def initialise(
    model: nn.Module, init: Init, depth: int, seed: int, width_mult: float = 1.0
) -> None:
    """Draw every matrix and embedding of the model; norms begin as the identity.

    `depth` is the number of layers that a token goes through, `width_mult` the width over muP's
    base width.

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
                drawn /= math.sqrt(2 * depth)
            drawn *= _mup_scale(module.role, init, width_mult)
        with torch.no_grad():
            module.weight.copy_(drawn)


def _draw(drawn: Tensor, module: Linear | Stack, init: Init, generator: torch.Generator) -> None:
    fan_in = drawn.shape[-1]
    if init.kind == "normal":
        drawn.normal_(0.0, init.std, generator=generator)
    elif init.kind == "fan_in":
        drawn.normal_(0.0, 1 / math.sqrt(fan_in), generator=generator)
    elif init.kind == "xavier":
        for part in drawn.split(list(module.outputs), dim=-2):
            bound = math.sqrt(6 / (fan_in + part.shape[-2]))  # Glorot and Bengio 2010, eq. 16
            part.uniform_(-bound, bound, generator=generator)
    else:
        assert_never(init.kind)


def _mup_scale(role: Role, init: Init, width_mult: float) -> float:
    """What drawn weights are multiplied by under muP: all is as usual at the base width, the
    variance of a hidden matrix goes as 1 / fan_in, and that of the head, whose logits are scaled
    instead, stays (arXiv 2203.03466, table 8).
    """
    if role == "head":
        return math.sqrt(width_mult) if init.kind == "fan_in" else 1.0
    return 1 / math.sqrt(width_mult) if init.kind == "normal" else 1.0


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by its name, in the model's order: what the optimizer goes by.

    A module with parameters of its own declares a `role`.
    """
    found: dict[str, Role] = {}
    owners = dict(model.named_modules())
    for name, _ in model.named_parameters():
        owner = owners[name.rpartition(".")[0]]
        assert hasattr(owner, "role"), (
            f"{type(owner).__name__} does not say what its parameters are for"
        )
        found[name] = cast(Role, owner.role)
    return found
