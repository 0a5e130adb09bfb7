"""The training loss: cross-entropy where a sequence's loss falls, and the head nowhere else; and
what routers add to it.

Shapes: B sequences, T positions, M targets in a row, N predictions, D width, V vocabulary, R
roll-outs of a sequence.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from scalelab.models import Family, LayerRouter
from scalelab.models.layers.cross_entropy import (
    cross_entropy,
    cross_entropy_and_partition,
    summed_cross_entropy,
)
from scalelab.models.layers.moe import Routing
from scalelab.models.layers.reading import Reading
from scalelab.plan.flops import BACKWARD
from scalelab.spec import model as spec
from scalelab.spec.router import Reinforce


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
    """The document that each position belongs to, where a token sees its own alone; without it a
    window is one document.
    """


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


def summed_loss(model: Family, batch: Batch, z_loss: bool = False) -> Loss:
    """The parts of the loss over a micro-batch, for `mean_loss` to put together."""
    if isinstance(model, LayerRouter):
        return routed_loss(model, batch, z_loss)
    x_BMD, routings = model.run(batch.tokens_BT, batch.given_B, batch.targets_BM, batch.document_BT)
    nats, z = _summed(model, x_BMD, batch, z_loss)
    return Loss(
        nats,
        z,
        torch.stack([routing.penalty for routing in routings]).sum() if routings else None,
        routings,
    )


def routed_loss(model: LayerRouter, batch: Batch, z_loss: bool = False) -> Loss:
    """The same of a router over layers: where every step bears loss the weighted sum over the
    steps, and the mean over roll-outs.
    """
    real_BT = None if model.given.mask == "full" else _real(batch)
    reading = model.read(
        batch.tokens_BT, batch.given_B, batch.targets_BM, batch.document_BT, real_BT=real_BT
    )
    rollouts, policy = len(reading.final_BMD) // len(batch.tokens_BT), None
    routings = [route.routing for route in reading.routes]
    penalty = torch.stack([reading.penalty, *(routing.penalty for routing in routings)]).sum()
    if rollouts == 1 and not reading.weights:
        nats, z = _summed(model, reading.final_BMD, batch, z_loss)
    else:
        nats_RBM, z_RBM = (
            part.unflatten(0, (rollouts, -1))
            for part in _over_steps(model, reading, _repeated(batch, rollouts))
        )
        nats, z = nats_RBM.sum() / rollouts, z_RBM.sum() / rollouts
        if rollouts > 1:
            policy = _policy(model, reading, _placed(nats_RBM.detach(), batch))
            penalty = (
                penalty
                if reading.cost_BT is None
                else penalty + _policy(model, reading, _costs(reading, rollouts, real_BT))
            )
    return Loss(
        nats,
        z if z_loss else torch.zeros_like(z),
        penalty,
        routings,
        policy,
        None if reading.cost_BT is None else _steps_of(reading, rollouts, real_BT),
        BACKWARD * reading.flops,
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


def _policy(model: LayerRouter, reading: Reading, lost_RBT: Tensor) -> Tensor:
    """REINFORCE (Williams 1992) of what is lost at each position: each choice's ln p times by how
    much the loss that it can change exceeds that of the other roll-outs.

    Its gradient is that of the expected loss: what a choice cannot change, and what the other
    roll-outs lose, has no part in it but noise. Under a causal mask a token changes nothing before
    it.
    """
    selection, rollouts = model.given.selection, len(lost_RBT)
    assert isinstance(selection, Reinforce), "nothing else has roll-outs"
    ahead_RBT = lost_RBT.flip(2).cumsum(2).flip(2)
    if model.given.mask == "full":
        ahead_RBT = ahead_RBT[..., :1].expand_as(ahead_RBT)
    excess_RBT = (ahead_RBT - ahead_RBT.mean(0)) * (rollouts / (rollouts - 1))
    log_prob_RBT = (
        torch.stack([route.log_prob_BT for route in reading.routes])
        .sum(0)
        .unflatten(0, (rollouts, -1))
    )
    if model.given.granularity == "sequence":  # one choice, told of every token
        log_prob_RBT = log_prob_RBT[..., :1]
        excess_RBT = excess_RBT[..., :1]
    return selection.coefficient * (excess_RBT * log_prob_RBT).sum() / rollouts


def _placed(nats_RBM: Tensor, batch: Batch) -> Tensor:
    """The nats of the targets at their positions, [R, B, T]."""
    if batch.targets_BM is None:
        return nats_RBM
    lost_RBT = nats_RBM.new_zeros(*nats_RBM.shape[:2], batch.tokens_BT.shape[1])
    return lost_RBT.scatter_add_(2, batch.targets_BM.expand_as(nats_RBM), nats_RBM)


def _costs(reading: Reading, rollouts: int, real_BT: Tensor | None) -> Tensor:
    """What thinking costs at each position, [R, B, T], as its mean over all positions counts it."""
    assert reading.cost_BT is not None
    cost_RBT = reading.cost_BT.detach().unflatten(0, (rollouts, -1))
    return (cost_RBT if real_BT is None else cost_RBT * real_BT) / cost_RBT[0].numel()


def _steps_of(reading: Reading, rollouts: int, real_BT: Tensor | None) -> Tensor:
    """Steps of the tokens that are no padding, [N]."""
    steps_BT = reading.steps_BT.detach()
    return steps_BT.flatten() if real_BT is None else steps_BT[real_BT.repeat(rollouts, 1)]


def _real(batch: Batch) -> Tensor | None:
    """[B, T]: true up to the last target of a row, behind which padding fills the window; None
    where all positions bear loss.
    """
    if batch.targets_BM is None:
        return None
    last_B1 = (
        batch.targets_BM if batch.weights_BM is None else batch.targets_BM * (batch.weights_BM > 0)
    ).amax(1, keepdim=True)
    return torch.arange(batch.tokens_BT.shape[1], device=last_B1.device) <= last_B1


def _over_steps(model: LayerRouter, reading: Reading, batch: Batch) -> tuple[Tensor, Tensor]:
    """Nats and squared log-partition of each target, [B, M]: expected over the steps that bear
    loss.
    """
    if not reading.weights:
        return _each(model, reading.final_BMD, batch)
    parts = [
        _each(model, x_BMD, _weighed(batch, weight_BM))
        for x_BMD, weight_BM in zip(reading.each_step, reading.weights, strict=True)
    ]
    return torch.stack([nats_BM for nats_BM, _ in parts]).sum(0), torch.stack(
        [z_BM for _, z_BM in parts]
    ).sum(0)


def _weighed(batch: Batch, weight_BM: Tensor) -> Batch:
    return replace(
        batch, weights_BM=weight_BM if batch.weights_BM is None else batch.weights_BM * weight_BM
    )


def _repeated(batch: Batch, rollouts: int) -> Batch:
    """The labels of every lane; of the rest what weighs them."""
    weights_BM = None if batch.weights_BM is None else batch.weights_BM.repeat(rollouts, 1)
    return replace(batch, labels_BM=batch.labels_BM.repeat(rollouts, 1), weights_BM=weights_BM)


def _each(model: Family, x_BMD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Nats and squared log-partition of each target, [B, M], as they weigh."""
    nats_N, log_partition_N = cross_entropy_and_partition(
        model.head(x_BMD).flatten(0, 1), batch.labels_BM.flatten()
    )
    parts = (part_N.unflatten(0, x_BMD.shape[:2]) for part_N in (nats_N, log_partition_N.square()))
    nats_BM, z_BM = (
        part_BM if batch.weights_BM is None else part_BM * batch.weights_BM for part_BM in parts
    )
    return nats_BM, z_BM


def _summed(model: Family, x_BMD: Tensor, batch: Batch, z_loss: bool) -> tuple[Tensor, Tensor]:
    """Sums of the nats and, where it is asked for, of the squared log-partition."""
    if z_loss:
        nats_BM, z_BM = _each(model, x_BMD, batch)
        return nats_BM.sum(), z_BM.sum()
    return _nats(model, x_BMD, batch), x_BMD.new_zeros(())


def _nats(model: Family, x_BMD: Tensor, batch: Batch) -> Tensor:
    label_N = batch.labels_BM.flatten()
    if batch.weights_BM is not None:
        return (
            cross_entropy(model.head(x_BMD).flatten(0, 1), label_N) * batch.weights_BM.flatten()
        ).sum()
    if x_BMD.is_cpu and not torch.is_autocast_enabled("cpu") and _is_product(model):
        return summed_cross_entropy(x_BMD.flatten(0, 1), model.head_weight, label_N)
    return cross_entropy(model.head(x_BMD).flatten(0, 1), label_N).sum()


def _is_product(model: Family) -> bool:
    """Whether the logits are a product with the head's matrix and nothing more."""
    return model.wider == 1.0 and (
        isinstance(model.given, spec.Lstm) or model.given.logit_softcap is None
    )
