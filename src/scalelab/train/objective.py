"""The training loss: cross-entropy where a sequence's loss falls, and the head nowhere else; and what routers add to it.

Shapes: B sequences, T positions, M targets in a row, N predictions, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scalelab.models import Transformer
from scalelab.models.layers.cross_entropy import cross_entropy, cross_entropy_and_partition, summed_cross_entropy
from scalelab.models.layers.moe import Routing


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


class Loss(NamedTuple):
    """What a micro-batch says of a model. All scalars but the routings."""

    nats: Tensor
    """Sum over the targets of -ln p(label)."""
    z: Tensor
    """Sum over the targets of the squared log-partition of the logits; zero unless it is asked for."""
    penalty: Tensor
    """What the routers add, with their coefficients: a mean over the micro-batch; zero without a mixture of experts."""
    routings: list[Routing]
    """How the tokens were routed, layer by layer; empty without a mixture of experts."""


def summed_loss(model: Transformer, batch: Batch, z_loss: bool = False) -> Loss:
    """The parts of the loss over a micro-batch, for `mean_loss` to put together."""
    x_BMD, routings = model.run(batch.tokens_BT, batch.given_B, batch.targets_BM, batch.document_BT)
    nats, z = _partitioned(model, x_BMD, batch) if z_loss else (_nats(model, x_BMD, batch), x_BMD.new_zeros(()))
    penalty = torch.stack([routing.penalty for routing in routings]).sum() if routings else x_BMD.new_zeros(())
    return Loss(nats, z, penalty, routings)


def mean_loss(loss: Loss, targets: Tensor, share: float, z_loss: float = 0.0) -> Tensor:
    """What a micro-batch adds to the loss of its update, which has `targets` in all; `share` is its share of the update's sequences.

    The sums over targets count each target alike. A penalty is a mean over the micro-batch, so it counts by its share.
    """
    mean = loss.nats / targets
    if z_loss:
        mean = mean + z_loss * loss.z / targets
    return mean + share * loss.penalty if loss.routings else mean


def _nats(model: Transformer, x_BMD: Tensor, batch: Batch) -> Tensor:
    label_N = batch.labels_BM.flatten()
    if batch.weights_BM is not None:
        return (cross_entropy(model.head(x_BMD).flatten(0, 1), label_N) * batch.weights_BM.flatten()).sum()
    if x_BMD.is_cpu and not torch.is_autocast_enabled("cpu") and _is_product(model):
        return summed_cross_entropy(x_BMD.flatten(0, 1), model.head_weight, label_N)
    return cross_entropy(model.head(x_BMD).flatten(0, 1), label_N).sum()


def _partitioned(model: Transformer, x_BMD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sums of the nats and of the squared log-partition."""
    nats_N, log_partition_N = cross_entropy_and_partition(model.head(x_BMD).flatten(0, 1), batch.labels_BM.flatten())
    if batch.weights_BM is None:
        return nats_N.sum(), log_partition_N.square().sum()
    weights_N = batch.weights_BM.flatten()
    return (nats_N * weights_N).sum(), (log_partition_N.square() * weights_N).sum()


def _is_product(model: Transformer) -> bool:
    """Whether the logits are a product with the head's matrix and nothing more."""
    return model.given.logit_softcap is None and model.wider == 1.0
