"""The training loss: cross-entropy where a sequence's loss falls, and the head nowhere else.

Shapes: B sequences, T positions, M targets in a row, D width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scalelab.models import Transformer
from scalelab.models.layers.cross_entropy import cross_entropy, summed_cross_entropy


@dataclass(frozen=True)
class Batch:
    """Sequences on the device, ready for a model."""

    tokens_BT: Tensor
    labels_BM: Tensor
    """The next token at each target."""
    targets_BM: Tensor | None = None
    """Positions whose next token bears loss, padded with 0; without it all of them do, in order."""
    weights_BM: Tensor | None = None
    """1 where there is a target, 0 where there is padding; without it nothing is padding."""
    given_B: Tensor | None = None
    """How many leading positions are given text, for a prefix mask; without it none are."""
    document_BT: Tensor | None = None
    """The document that each position belongs to, where a token sees its own alone; without it a window is one document."""


def summed_loss(model: Transformer, batch: Batch) -> Tensor:
    """Sum over the batch's targets of -ln p(label), in nats."""
    x_BMD, label_N = model.trunk(batch.tokens_BT, batch.given_B, batch.targets_BM), batch.labels_BM.flatten()
    if batch.weights_BM is not None:
        return (cross_entropy(model.head(x_BMD).flatten(0, 1), label_N) * batch.weights_BM.flatten()).sum()
    if x_BMD.is_cpu and not torch.is_autocast_enabled("cpu"):
        return summed_cross_entropy(x_BMD.flatten(0, 1), model.head_weight, label_N)
    return cross_entropy(model.head(x_BMD).flatten(0, 1), label_N).sum()
