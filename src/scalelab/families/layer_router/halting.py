"""When a token stops thinking, what each step weighs in what it predicts from, and what thinking
costs.

B lanes, T positions, D width.
"""

import math
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.layer_router.spec import Act, LayerRouter, NoHalting, Ponder, Threshold
from scalelab.layers.spec import Role


class HaltState(NamedTuple):
    """How far the tokens have thought. All but `alive_BT` in fp32."""

    alive_BT: Tensor
    """Whether a token goes through the next step; bool."""
    weight_BT: Tensor
    """Weight of the step just taken; 0 for a token that had halted.

    Over all steps the weights of a token sum to 1.
    """
    left_BT: Tensor
    """Of ACT the weight that no step has had yet; else ln of the probability of not
    having halted.
    """
    steps_BT: Tensor
    """Steps that a token has gone through; of PonderNet, while training, how many it is expected
    to.
    """
    cost_BT: Tensor
    """What its thinking has cost, without the coefficient."""

    def went_on(self, weight_BT: Tensor, left_BT: Tensor, ends_BT: Tensor, cost_BT: Tensor) -> Self:
        """One step further: a token that had halted stays as it was, with weight 0."""
        return type(self)(
            self.alive_BT & ~ends_BT,
            torch.where(self.alive_BT, weight_BT, 0.0),
            torch.where(self.alive_BT, left_BT, self.left_BT),
            self.steps_BT + self.alive_BT,
            self.cost_BT + torch.where(self.alive_BT, cost_BT, 0.0),
        )


class Halting(nn.Module):
    """The halting unit, a number for each token from its state (normalised, without a gain), and
    the rule that reads it.

    Its weights begin at zero, so that at first every token thinks for as long. The bias begins
    where the probability of halting is 1 / steps, with which ACT takes every step and
    stick-breaking most of them, or at PonderNet's prior. (Where steps have no limit the bias begins
    at 1, arXiv 1603.08983, with which a token halts after two; here `steps` is the limit.)
    """

    role: Role = "router"

    def __init__(self, config: LayerRouter) -> None:
        super().__init__()
        assert isinstance(config.width, int) and not isinstance(config.halting, NoHalting), (
            "a module is built from a resolved spec that halts"
        )
        self.rule: Act | Ponder | Threshold = config.halting
        self.num_steps, self.eps = config.num_steps, config.norm.eps
        begin = self.rule.prior if isinstance(self.rule, Ponder) else 1 / config.num_steps
        self.weight = nn.Parameter(torch.zeros(1, config.width))
        self.bias = nn.Parameter(torch.full((1,), math.log(begin / (1 - begin))))

    def start(self, lanes: int, positions: int, like: Tensor) -> HaltState:
        """Before the first step: all tokens think. The state lies on the device of `like`."""
        zero_BT = torch.zeros(lanes, positions, device=like.device)
        left_BT = torch.ones_like(zero_BT) if isinstance(self.rule, Act) else zero_BT
        return HaltState(
            torch.ones_like(zero_BT, dtype=torch.bool), zero_BT, left_BT, zero_BT, zero_BT
        )

    def forward(self, x_BTD: Tensor, step: int, state: HaltState) -> HaltState:
        """The states [B, T, D] after step number `step`, from 0 -> who thinks on, and what this
        step weighs.

        While training PonderNet lets all tokens take every step and weighs these by its
        distribution; else a token's whole weight lies on the step at which it halts.
        """
        with torch.autocast(x_BTD.device.type, enabled=False):
            unit_BTD = F.rms_norm(x_BTD.float(), x_BTD.shape[-1:], eps=self.eps)
            logit_BT = F.linear(unit_BTD, self.weight.float(), self.bias.float()).squeeze(-1)
        last = step == self.num_steps - 1
        if isinstance(self.rule, Act):
            return act(self.rule, logit_BT, state, last)
        if isinstance(self.rule, Threshold):
            return threshold(self.rule, logit_BT, state, last)
        trains = self.training and torch.is_grad_enabled()
        return ponder(self.rule, logit_BT, state, step, self.num_steps, trains=trains)

    def cost(self, state: HaltState) -> Tensor:
        """What each token's thinking costs after the last step, [B, T], with the coefficient: its
        mean is added to the loss.
        """
        return self.rule.cost * state.cost_BT


def act(rule: Act, logit_BT: Tensor, state: HaltState, last: bool) -> HaltState:
    """A token halts once its halting probabilities sum to 1 - epsilon; that step takes the
    remainder R = 1 - the sum before it (arXiv 1603.08983). Its cost is N + R, of which R alone has
    a gradient.
    """
    halt_BT = logit_BT.sigmoid()
    ends_BT = (state.left_BT - halt_BT <= rule.epsilon) | last
    weight_BT = torch.where(ends_BT, state.left_BT, halt_BT)
    return state.went_on(
        weight_BT, state.left_BT - weight_BT, ends_BT, 1 + torch.where(ends_BT, state.left_BT, 0.0)
    )


def threshold(rule: Threshold, logit_BT: Tensor, state: HaltState, last: bool) -> HaltState:
    """Stick-breaking: step n takes the share sigmoid(logit) of what the steps before left, and a
    token halts once what it has taken reaches the threshold; that step takes the rest (arXiv
    2310.07096). Its cost is the sum of n times the weight of step n, which is the sum of what was
    left before each.
    """
    left_BT = state.left_BT + F.logsigmoid(-logit_BT)
    ends_BT = (-torch.expm1(left_BT) >= rule.threshold) | last
    weight_BT = torch.where(ends_BT, state.left_BT, state.left_BT + F.logsigmoid(logit_BT)).exp()
    return state.went_on(weight_BT, left_BT, ends_BT, state.left_BT.exp())


def ponder(
    rule: Ponder, logit_BT: Tensor, state: HaltState, step: int, num_steps: int, *, trains: bool
) -> HaltState:
    """PonderNet (arXiv 2107.05407): p_n = lambda_n times what the steps before left; the last step
    takes the rest. The cost is the divergence of p from the geometric prior, cut off at the last
    step and made to sum to 1.

    Where nothing is trained a token halts at the first step by which it would have with probability
    `halts_at`, and the cost is that of the steps that it took.
    """
    last = step == num_steps - 1
    left_BT = state.left_BT + F.logsigmoid(-logit_BT)
    log_p_BT = state.left_BT if last else state.left_BT + F.logsigmoid(logit_BT)
    log_prior = (
        step * math.log1p(-rule.prior)
        + math.log(rule.prior)
        - math.log(-math.expm1(num_steps * math.log1p(-rule.prior)))
    )
    cost_BT = log_p_BT.exp() * (log_p_BT - log_prior)
    if trains:
        gone = state.went_on(
            log_p_BT.exp(), left_BT, torch.full_like(state.alive_BT, last), cost_BT
        )
        return gone._replace(
            steps_BT=state.steps_BT + state.left_BT.detach().exp()
        )  # a step is taken where none before it was the last
    ends_BT = (-torch.expm1(left_BT) >= rule.halts_at) | last
    return state.went_on(ends_BT.float(), left_BT, ends_BT, cost_BT)
