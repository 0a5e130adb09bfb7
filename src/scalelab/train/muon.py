"""Muon (Jordan et al. 2024): momentum, made orthogonal by Newton-Schulz steps.

`torch.optim.Muon` takes one matrix at a time, and 2-D ones alone. This one does the same arithmetic
on stacks of experts [E, out, in] too, on each of the parts that stand under each other in one
matrix (queries and their like are matrices of their own, and get what matrices of their own would
get), and on all matrices of one shape at once: a model has many and of few shapes.

n matrices of one shape, R rows, C columns.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scalelab.spec import optim as spec

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of the quintic aX + b(XX^T)X + c(XX^T)^2X, as steep at zero as it can be (Jordan et al.
2024).
"""

EPS = 1e-7
"""Least norm of an update."""


class Muon(torch.optim.Optimizer):
    """Muon over groups of matrices.

    `parts` tells of which heights a matrix is made up; without an entry it is one. `dtype` is the
    arithmetic of the Newton-Schulz steps. They magnify small singular values by hundreds, and with
    them the rounding: in bf16, splitting a batch moves the weights by 1e-4 within a few updates; in
    fp32 by no more than under AdamW.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        given: spec.Muon,
        parts: Mapping[Tensor, Sequence[int]],
        dtype: torch.dtype,
    ) -> None:
        self.given, self.parts, self.dtype = given, parts, dtype
        super().__init__(groups, {"lr": torch.tensor(given.lr), "weight_decay": given.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update. The learning rate is a tensor, and nothing waits for the device."""
        for group in self.param_groups:
            for (rows, columns), parts in self._by_shape(group["params"]).items():
                change_nRC = orthogonal(
                    torch.cat([update_nRC for _, update_nRC in parts]),
                    self.given.newton_schulz,
                    self.dtype,
                ).float()
                change_nRC *= group["lr"] * -factor(self.given.scaling, rows, columns)
                for (part, _), change in zip(
                    parts,
                    change_nRC.split([len(update_nRC) for _, update_nRC in parts]),
                    strict=True,
                ):
                    part.mul_(1 - group["lr"] * group["weight_decay"]).add_(change.view_as(part))

    def _by_shape(
        self, weights: Iterable[Tensor]
    ) -> dict[tuple[int, int], list[tuple[Tensor, Tensor]]]:
        """(R, C) -> a view of each part of that shape in its weight, and the part's update [n, R,
        C].
        """
        found: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in weights:
            if weight.grad is not None:
                heights, update = (
                    list(self.parts.get(weight, weight.shape[-2:-1])),
                    self._moved(weight, weight.grad),
                )
                for part, update_nRC in zip(
                    weight.split(heights, -2), update.split(heights, -2), strict=True
                ):
                    rows, columns = update_nRC.shape[-2:]
                    found[rows, columns].append((part, update_nRC.reshape(-1, rows, columns)))
        return found

    def _moved(self, weight: Tensor, grad: Tensor) -> Tensor:
        """The gradient after Nesterov's momentum."""
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        return grad.lerp(
            state["momentum"].lerp_(grad, 1 - self.given.momentum), self.given.momentum
        )


def factor(scaling: str, rows: int, columns: int) -> float:
    """What an orthogonal update is multiplied by besides the learning rate (see
    `spec.optim.Muon.scaling`).
    """
    return (
        math.sqrt(max(1, rows / columns))
        if scaling == "original"
        else 0.2 * math.sqrt(max(rows, columns))
    )


def orthogonal(x_nRC: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Each matrix U S V^T -> about U V^T, computed in `dtype`: its singular values end between 0.7
    and 1.2, and Muon asks for no more.
    """
    a, b, c = COEFFICIENTS
    tall = x_nRC.shape[1] > x_nRC.shape[2]
    x_nRC = (x_nRC.mT if tall else x_nRC).to(dtype).contiguous()
    x_nRC = x_nRC / x_nRC.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(steps):
        gram_nRR = x_nRC @ x_nRC.mT
        x_nRC = torch.baddbmm(
            x_nRC, torch.baddbmm(gram_nRR, gram_nRR, gram_nRR, beta=b, alpha=c), x_nRC, beta=a
        )
    return x_nRC.mT if tall else x_nRC
