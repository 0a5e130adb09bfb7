"""Muon (Jordan et al. 2024): momentum, made orthogonal by Newton-Schulz steps.

`torch.optim.Muon` takes one matrix at a time, and 2-D ones alone. This one does the same arithmetic on stacks of experts [E, out, in]
too, on each of the parts that stand under each other in one matrix (queries and their like are matrices of their own, and get what
matrices of their own would get), and on all matrices of one shape at once: a model has many and of few shapes.

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
"""a, b, c of the quintic aX + b(XX^T)X + c(XX^T)^2X, as steep at zero as it can be (Jordan et al. 2024)."""

EPS = 1e-7
"""Least norm of an update."""


class Muon(torch.optim.Optimizer):
    """Muon over groups of matrices. `parts` tells of which heights a matrix is made up; without an entry it is one."""

    def __init__(self, groups: Iterable[dict[str, Any]], given: spec.Muon, parts: Mapping[Tensor, Sequence[int]]) -> None:
        self.given, self.parts = given, parts
        super().__init__(groups, {"lr": torch.tensor(given.lr), "weight_decay": given.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update. The learning rate is a tensor, and nothing waits for the device."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, group["lr"], group["weight_decay"])

    def _update(self, weights: list[Tensor], lr: Tensor, decay: float) -> None:
        grads, momenta = [weight.grad for weight in weights], [self._momentum(weight) for weight in weights]
        torch._foreach_lerp_(momenta, grads, 1 - self.given.momentum)
        updates = torch._foreach_lerp(grads, momenta, self.given.momentum)  # Nesterov's
        torch._foreach_mul_(weights, 1 - lr * decay)
        for (rows, columns), parts in self._by_shape(weights, updates).items():
            change_nRC = orthogonal(torch.cat([update for _, update in parts]), self.given.newton_schulz).float()
            change_nRC *= lr * -factor(self.given.scaling, rows, columns)
            for (weight, _), change in zip(parts, change_nRC.split([len(update) for _, update in parts]), strict=True):
                weight.add_(change.view_as(weight))

    def _by_shape(self, weights: Sequence[Tensor], updates: Sequence[Tensor]) -> dict[tuple[int, int], list[tuple[Tensor, Tensor]]]:
        """(R, C) -> a view of each part of that shape in its weight, and the part's update [n, R, C]."""
        found: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight, update in zip(weights, updates, strict=True):
            heights = list(self.parts.get(weight, weight.shape[-2:-1]))
            for part, change in zip(weight.split(heights, -2), update.split(heights, -2), strict=True):
                rows, columns = change.shape[-2:]
                found[rows, columns].append((part, change.reshape(-1, rows, columns)))
        return found

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]


def factor(scaling: str, rows: int, columns: int) -> float:
    """What an orthogonal update is multiplied by besides the learning rate (see `spec.optim.Muon.scaling`)."""
    return math.sqrt(max(1, rows / columns)) if scaling == "original" else 0.2 * math.sqrt(max(rows, columns))


def orthogonal(x_nRC: Tensor, steps: int) -> Tensor:
    """Each matrix U S V^T -> about U V^T, in bf16: its singular values end between 0.7 and 1.2, and Muon asks for no more."""
    a, b, c = COEFFICIENTS
    tall = x_nRC.shape[1] > x_nRC.shape[2]
    x_nRC = (x_nRC.mT if tall else x_nRC).bfloat16()
    x_nRC = x_nRC / x_nRC.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(steps):
        gram_nRR = x_nRC @ x_nRC.mT
        x_nRC = torch.baddbmm(x_nRC, torch.baddbmm(gram_nRR, gram_nRR, gram_nRR, beta=b, alpha=c), x_nRC, beta=a)
    return x_nRC.mT if tall else x_nRC
