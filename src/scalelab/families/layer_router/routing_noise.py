"""The random numbers of a pass through a router over layers, and numbers that only look random.

B lanes, S steps, T positions that choose (one of a sequence, where its tokens take one route), E
layers of the pool.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scalelab.families.layer_router.spec import LayerRouter

LEAST = 2.0**-25
"""Half the step between two uniform numbers in fp32: keeps logarithms finite."""


class RoutingNoise(NamedTuple):
    """Uniform numbers in (0, 1) of a whole pass, those of a lane the same however a batch is split.

    None where nothing needs them.
    """

    choice_BSTE: Tensor | None
    """By which layers are drawn."""
    noise_BSTE: Tensor | None
    """For the normal noise on scores."""
    dropout_BSE: Tensor | None
    """By which layers are dropped in a lane."""

    def gumbel(self, step: int) -> Tensor:
        """Standard Gumbel noise [B, T, E]: the layer with the largest logit plus noise is drawn by
        the softmax of the logits.
        """
        assert self.choice_BSTE is not None, "nothing is drawn under this policy and selection"
        return -(-self.choice_BSTE[:, step].log()).log()

    def normal(self, step: int) -> Tensor:
        """Standard normal noise [B, T, E]."""
        assert self.noise_BSTE is not None, "there is no noise under this selection"
        return math.sqrt(2) * torch.erfinv(2 * self.noise_BSTE[:, step] - 1)

    def dropped(self, step: int, probability: float, barred_E: Tensor, remain: int) -> Tensor:
        """Which layers [B, 1, E] may not be chosen in a lane.

        Of those that are not barred, `remain` always stay.
        """
        assert self.dropout_BSE is not None, "no layer is dropped under this spec"
        number_BE = self.dropout_BSE[:, step]
        safe_B1 = number_BE.masked_fill(barred_E, 0).topk(remain).values[:, -1:]
        return (number_BE < safe_B1.clamp(max=probability))[:, None]


def draw(
    config: LayerRouter, lanes: int, length: int, device: torch.device | str
) -> RoutingNoise | None:
    """What a training pass over `lanes` lanes of `length` positions needs, or None where it draws
    nothing.

    Drawn on the CPU from the global generator in one block, sequence by sequence with all its
    roll-outs (roll-out r of sequence b is lane r * sequences + b), and as uniform numbers, which
    PyTorch draws one after the other: normal ones of a split batch differ.
    """
    positions, rollouts = 1 if config.granularity == "sequence" else length, config.num_rollouts
    assert lanes % rollouts == 0, f"{lanes} lanes are no multiple of {rollouts} roll-outs"
    choices = positions * config.pool if config.draws_layers else 0
    noises = positions * config.pool if config.selection.noise else 0
    drops = config.pool if config.layer_dropout else 0
    if not choices + noises + drops:
        return None
    block = torch.rand(
        lanes // rollouts, rollouts, config.num_steps, choices + noises + drops, device="cpu"
    )
    lane_first = block.transpose(0, 1).flatten(0, 1).to(device).clamp(min=LEAST)
    choice, noise, dropout = lane_first.split([choices, noises, drops], dim=-1)
    by_position = (positions, config.pool)
    return RoutingNoise(
        choice.unflatten(-1, by_position) if choices else None,
        noise.unflatten(-1, by_position) if noises else None,
        dropout if drops else None,
    )


def hashed(position: Tensor, step: int, layer: Tensor) -> Tensor:
    """A number in [0, 1] for each position, step and layer (int64, broadcast), the same always and
    everywhere.

    The finaliser of MurmurHash3 (Appleby 2011, public domain) over each of them in turn.
    """
    mixed = torch.zeros_like(position)
    for part in (position, step, layer):
        mixed = _mix((mixed * 0x9E3779B1 + part + 1) & 0xFFFFFFFF)
    return mixed.float() / 2.0**32


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return x ^ (x >> 16)
