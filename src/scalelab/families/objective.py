"""The training loss: cross-entropy where a sequence's loss falls, and the head nowhere else; and
what routers add to it.

Shapes: B sequences, T positions, M targets in a row, N predictions, D width, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from scalelab.families.layout import PLAIN, Layout
from scalelab.layers.cross_entropy import (
    cross_entropy,
    cross_entropy_and_partition,
    summed_cross_entropy,
)
from scalelab.layers.moe import Routing

if TYPE_CHECKING:
    from scalelab.families.language_model import LanguageModel


@dataclass(frozen=True)
class Batch:
    """Sequences on the device, ready for a model."""

    tokens_BT: Tensor
    labels_BM: Tensor
    """The next token at each target."""
    weights_BM: Tensor | None = None
    """1 where there is a target, 0 where the row of targets is filled up; None: all are targets."""
    layout: Layout = PLAIN
    """Where the targets are, and what tokens may see."""

    def split(self, size: int) -> "Iterator[Batch]":
        """The sequences, `size` of them at a time."""
        for start in range(0, len(self.tokens_BT), size):
            rows = slice(start, start + size)
            yield Batch(
                self.tokens_BT[rows],
                self.labels_BM[rows],
                None if self.weights_BM is None else self.weights_BM[rows],
                self.layout.rows(rows),
            )


class Loss(NamedTuple):
    """What a micro-batch says of a model."""

    nats: Tensor
    """Sum over the targets of -ln p(label): a scalar."""
    z: Tensor
    """Sum over the targets of the squared log-partition of the logits: a scalar, zero unless it is
    asked for.
    """
    penalty: Tensor | None
    """What routers and halting add, with their coefficients: a scalar, a mean over the micro-batch;
    None where nothing is routed.
    """
    routings: list[Routing]
    """How the tokens were routed, layer by layer or step by step; empty where nothing is."""
    policy: Tensor | None = None
    """What REINFORCE adds, with its coefficient: a scalar, a sum over the targets; None without
    roll-outs.
    """
    steps_N: Tensor | None = None
    """Steps that each token went through, of those up to the last target; None where
    none may halt.
    """
    flops: int = 0
    """FLOPs that were run, the backward pass counted in; 0 where the closed form tells them."""


def summed_loss(model: "LanguageModel[Any]", batch: Batch, z_loss: bool = False) -> Loss:
    """The parts of the loss over a micro-batch, for `mean_loss` to put together."""
    x_BMD, routings = model.run(batch.tokens_BT, batch.layout)
    nats, z = summed_nats(model, x_BMD, batch, z_loss)
    return Loss(
        nats,
        z,
        torch.stack([routing.penalty for routing in routings]).sum() if routings else None,
        routings,
    )


def mean_loss(loss: Loss, targets: Tensor, share: float, z_loss: float = 0.0) -> Tensor:
    """What a micro-batch adds to the loss of its update, which has `targets` in all; `share` is its
    share of the update's sequences.

    The sums over targets count each target alike. A penalty is a mean over the micro-batch, so it
    counts by its share.
    """
    mean = (loss.nats if loss.policy is None else loss.nats + loss.policy) / targets
    if z_loss:
        mean = mean + z_loss * loss.z / targets
    return mean if loss.penalty is None else mean + share * loss.penalty


def each_nats(model: "LanguageModel[Any]", x_BMD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Nats and squared log-partition of each target, [B, M], as they weigh."""
    nats_N, log_partition_N = cross_entropy_and_partition(
        model.head(x_BMD).flatten(0, 1), batch.labels_BM.flatten()
    )
    parts = (part_N.unflatten(0, x_BMD.shape[:2]) for part_N in (nats_N, log_partition_N.square()))
    nats_BM, z_BM = (
        part_BM if batch.weights_BM is None else part_BM * batch.weights_BM for part_BM in parts
    )
    return nats_BM, z_BM


def summed_nats(
    model: "LanguageModel[Any]", x_BMD: Tensor, batch: Batch, z_loss: bool
) -> tuple[Tensor, Tensor]:
    """Sums of the nats and, where it is asked for, of the squared log-partition."""
    if z_loss:
        nats_BM, z_BM = each_nats(model, x_BMD, batch)
        return nats_BM.sum(), z_BM.sum()
    return _nats(model, x_BMD, batch), x_BMD.new_zeros(())


def _nats(model: "LanguageModel[Any]", x_BMD: Tensor, batch: Batch) -> Tensor:
    label_N = batch.labels_BM.flatten()
    if batch.weights_BM is not None:
        return (
            cross_entropy(model.head(x_BMD).flatten(0, 1), label_N) * batch.weights_BM.flatten()
        ).sum()
    if x_BMD.is_cpu and not torch.is_autocast_enabled("cpu") and model.head_is_product:
        return summed_cross_entropy(x_BMD.flatten(0, 1), model.head_weight, label_N)
    return cross_entropy(model.head(x_BMD).flatten(0, 1), label_N).sum()
