"""Optimizers, built from their spec."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalelab.spec.optim import AdamW
from scalelab.train.schedule import share_of_peak


def build(spec: AdamW, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over all parameters; the learning rate is a tensor so that a compiled step sees no new constant."""
    lr = torch.tensor(spec.lr, device=device)
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, fused=True)


def update(spec: AdamW, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], step: int, steps: int) -> None:
    """One update number `step` (from 0) out of `steps` from the gradients that are there."""
    if spec.clip is not None:
        nn.utils.clip_grad_norm_(parameters, spec.clip)
    for group in optimizer.param_groups:
        group["lr"].fill_(spec.lr * share_of_peak(spec.schedule, step, steps))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
