"""The training loss of a router over layers: every step may bear loss, and REINFORCE has several
roll-outs of each sequence.

B sequences, T positions, M targets in a row, N predictions, D width, R roll-outs of a sequence, L
layers, W weights of a matrix.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.cost import BACKWARD
from scalelab.families.language_model import RouterOutput
from scalelab.families.layer_router.spec import Reinforce
from scalelab.families.objective import Batch, Loss, each_nats, summed_nats

if TYPE_CHECKING:
    from scalelab.families.layer_router.model import LayerRouter


def routed_loss(model: "LayerRouter", batch: Batch, z_loss: bool = False) -> Loss:
    """The parts of the loss over a micro-batch: if every step bears loss, the weighted sum over the
    steps; of several roll-outs the mean.
    """
    layout = batch.layout
    if model.config.mask != "full":
        layout = replace(layout, length_B=_lengths(batch))
    output = model.run_steps(batch.tokens_BT, layout)
    real_BT = layout.real(batch.tokens_BT.shape[1])
    rollouts, policy = len(output.final_BMD) // len(batch.tokens_BT), None
    routings = [route.routing for route in output.routes]
    penalty = torch.stack([output.penalty, *(routing.penalty for routing in routings)]).sum()
    if rollouts == 1 and not output.weights:
        nats, z = summed_nats(model, output.final_BMD, batch, z_loss)
    else:
        nats_RBM, z_RBM = (
            part.unflatten(0, (rollouts, -1))
            for part in _over_steps(model, output, _repeated(batch, rollouts))
        )
        nats, z = nats_RBM.sum() / rollouts, z_RBM.sum() / rollouts
        if rollouts > 1:
            policy = _policy(model, output, _placed(nats_RBM.detach(), batch))
            penalty = (
                penalty
                if output.cost_BT is None
                else penalty + _policy(model, output, _costs(output, rollouts, real_BT))
            )
    return Loss(
        nats,
        z if z_loss else torch.zeros_like(z),
        penalty,
        routings,
        policy,
        None if output.cost_BT is None else _steps_of(output, rollouts, real_BT),
        BACKWARD * output.flops,
    )


def _policy(model: "LayerRouter", output: RouterOutput, lost_RBT: Tensor) -> Tensor:
    """REINFORCE (Williams 1992) of what is lost at each position: each choice's ln p times by how
    much the loss that it can change exceeds that of the other roll-outs.

    Its gradient is that of the expected loss: what a choice cannot change, and what the other
    roll-outs lose, has no part in it but noise. Under a causal mask a token changes nothing before
    it.
    """
    selection, rollouts = model.config.selection, len(lost_RBT)
    assert isinstance(selection, Reinforce), "nothing else has roll-outs"
    ahead_RBT = lost_RBT.flip(2).cumsum(2).flip(2)
    if model.config.mask == "full":
        ahead_RBT = ahead_RBT[..., :1].expand_as(ahead_RBT)
    excess_RBT = (ahead_RBT - ahead_RBT.mean(0)) * (rollouts / (rollouts - 1))
    log_prob_RBT = (
        torch.stack([route.log_prob_BT for route in output.routes])
        .sum(0)
        .unflatten(0, (rollouts, -1))
    )
    if model.config.granularity == "sequence":  # one choice, told of every token
        log_prob_RBT = log_prob_RBT[..., :1]
        excess_RBT = excess_RBT[..., :1]
    return selection.coefficient * (excess_RBT * log_prob_RBT).sum() / rollouts


def _placed(nats_RBM: Tensor, batch: Batch) -> Tensor:
    """The nats of the targets at their positions, [R, B, T]."""
    targets_BM = batch.layout.targets_BM
    if targets_BM is None:
        return nats_RBM
    lost_RBT = nats_RBM.new_zeros(*nats_RBM.shape[:2], batch.tokens_BT.shape[1])
    return lost_RBT.scatter_add_(2, targets_BM.expand_as(nats_RBM), nats_RBM)


def _costs(output: RouterOutput, rollouts: int, real_BT: Tensor | None) -> Tensor:
    """What thinking costs at each position, [R, B, T], as its mean over all positions counts it."""
    assert output.cost_BT is not None
    cost_RBT = output.cost_BT.detach().unflatten(0, (rollouts, -1))
    return (cost_RBT if real_BT is None else cost_RBT * real_BT) / cost_RBT[0].numel()


def _steps_of(output: RouterOutput, rollouts: int, real_BT: Tensor | None) -> Tensor:
    """Steps of the tokens that are no padding, [N]."""
    steps_BT = output.steps_BT.detach()
    return steps_BT.flatten() if real_BT is None else steps_BT[real_BT.repeat(rollouts, 1)]


def _lengths(batch: Batch) -> Tensor | None:
    """Tokens up to the last target of a row, [B], behind which padding fills the window; None where
    all positions bear loss.
    """
    targets_BM = batch.layout.targets_BM
    if targets_BM is None:
        return None
    if batch.weights_BM is not None:
        targets_BM = targets_BM * (batch.weights_BM > 0)
    return targets_BM.amax(1) + 1


def _over_steps(model: "LayerRouter", output: RouterOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    """Nats and squared log-partition of each target, [B, M]: expected over the steps that bear
    loss.
    """
    if not output.weights:
        return each_nats(model, output.final_BMD, batch)
    given_BM, nats, z = batch.weights_BM, list[Tensor](), list[Tensor]()
    for x_BMD, weight_BM in zip(output.each_step, output.weights, strict=True):
        weights_BM = weight_BM if given_BM is None else given_BM * weight_BM
        nats_BM, z_BM = each_nats(model, x_BMD, replace(batch, weights_BM=weights_BM))
        nats.append(nats_BM)
        z.append(z_BM)
    return torch.stack(nats).sum(0), torch.stack(z).sum(0)


def _repeated(batch: Batch, rollouts: int) -> Batch:
    """The labels of every lane; of the rest what weighs them."""
    weights_BM = None if batch.weights_BM is None else batch.weights_BM.repeat(rollouts, 1)
    return replace(batch, labels_BM=batch.labels_BM.repeat(rollouts, 1), weights_BM=weights_BM)


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


def _likeness(weight_LW: Tensor) -> Tensor:
    unit_LW = F.normalize(weight_LW.float(), dim=-1)
    square_LL = (unit_LW @ unit_LW.t()).square()
    layers = len(square_LL)
    return (square_LL.sum() - square_LL.diagonal().sum()) / (layers * (layers - 1))
