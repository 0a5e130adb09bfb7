"""Features at some positions. B lanes, T positions, M of them that are asked for, D width."""

import torch
from torch import Tensor


def pick(x_BTD: Tensor, at_BM: Tensor) -> Tensor:
    """The features [B, M, D] at the positions `at_BM` of their lanes."""
    lanes, length, _ = x_BTD.shape
    row_BM = at_BM + length * torch.arange(lanes, device=at_BM.device)[:, None]
    return x_BTD.flatten(0, 1).index_select(0, row_BM.flatten()).unflatten(0, at_BM.shape)
