"""How alike the layers of a pool are. L layers, N weights of a matrix."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def similarity(layers: Sequence[nn.Module]) -> Tensor:
    """The mean squared cosine between the weights of two layers: a scalar in fp32, 0 for fewer than
    two layers, 1 for equal ones.

    The cosine is taken matrix by matrix, in place of one for a whole layer that its largest
    matrices would decide; gains, which begin alike, are left out.
    """
    matrices = [[weight for weight in layer.parameters() if weight.ndim > 1] for layer in layers]
    if len(matrices) < 2:
        return matrices[0][0].new_zeros((), dtype=torch.float32)
    with torch.autocast(matrices[0][0].device.type, enabled=False):
        return torch.stack(
            [_likeness(torch.stack(same).flatten(1)) for same in zip(*matrices, strict=True)]
        ).mean()


def _likeness(weight_LN: Tensor) -> Tensor:
    unit_LN = F.normalize(weight_LN.float(), dim=-1)
    square_LL = (unit_LN @ unit_LN.t()).square()
    layers = len(square_LL)
    return (square_LL.sum() - square_LL.diagonal().sum()) / (layers * (layers - 1))
