"""A pass of tokens through the steps of a router over layers.

B lanes, T positions, M targets, U positions that choose (T, or 1 where a sequence takes one route),
D width, K layers that are applied at a step, E layers of the pool.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.families.language_model import Route, pick
from scalelab.families.layer_router.chooser import Choice, Chooser, RouterState
from scalelab.families.layer_router.dispatch import Dispatch
from scalelab.families.layer_router.halting import Halting, HaltState
from scalelab.families.layer_router.routing_noise import RoutingNoise
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers import balance
from scalelab.layers.cache import RoutedCache
from scalelab.layers.moe import Routing
from scalelab.layers.router import Scores


@dataclass
class RoutedForward:
    """One pass. `x_BTD` are the states of the tokens after the steps so far."""

    config: LayerRouter
    allowed: tuple[tuple[int, ...], ...]
    """The layers that each step may choose."""
    chooser: Chooser | None
    halting: Halting | None
    dispatch: Dispatch
    x_BTD: Tensor
    targets_BM: Tensor | None = None
    prefix_B: Tensor | None = None
    noise: RoutingNoise | None = None
    position_BT: Tensor | None = None
    """Where the tokens stand; from 0 on where it is None."""
    cache: RoutedCache | None = None
    begins_B: Tensor | None = None
    """With a cache: the lanes whose first token is among these."""
    state: RouterState | None = None
    halt: HaltState | None = None

    def __post_init__(self) -> None:
        self.as_one = self.config.granularity == "sequence"
        """Whether the tokens of a sequence take one route."""
        lanes, units = len(self.x_BTD), 1 if self.as_one else self.x_BTD.shape[1]
        self.state = None if self.chooser is None else self.chooser.start(lanes, units, self.x_BTD)
        self.halt = None if self.halting is None else self.halting.start(lanes, units, self.x_BTD)

    @property
    def alive_BU(self) -> Tensor | None:
        """Who goes through the next step; None where nobody halts."""
        return None if self.halt is None else self.halt.alive_BT

    def step(self, step: int) -> Choice:
        """Take a step. The last one computes the states at the targets only: [B, M, D]."""
        choice, alive_BU = self._choose(step), self.alive_BU
        at_BM = self.targets_BM if step == len(self.allowed) - 1 else None
        if alive_BU is not None:
            alive_BU = self._settled("alive", step, alive_BU)
        chosen_BUK = choice.chosen_BTK
        if alive_BU is not None:
            chosen_BUK = chosen_BUK.masked_fill(~alive_BU[..., None], -1)
        old_BTD, self.x_BTD = self.x_BTD, self._apply(step, chosen_BUK, choice.weight_BTK, at_BM)
        if self.halting is not None and self.halt is not None:
            # What the last step weighs depends on those before it alone: any states will do.
            deciding_BUD = self._deciding(self.x_BTD if at_BM is None else old_BTD)
            halt: HaltState = self.halting(deciding_BUD, step, self.halt)
            weight_BU = self._settled("weight", step, halt.weight_BT)
            self.halt = halt._replace(weight_BT=weight_BU)
        return choice

    def at_targets(self, step: int) -> tuple[Tensor, Tensor | None]:
        """After a step: the states [B, M, D] at the targets, and with halting what the step weighs
        there, [B, M].
        """
        is_last, at_BM = step == len(self.allowed) - 1, self.targets_BM
        x_BMD = self.x_BTD if is_last or at_BM is None else pick(self.x_BTD, at_BM)
        if self.halt is None:
            return x_BMD, None
        weight_BU = self.halt.weight_BT
        if self.as_one or at_BM is None:
            return x_BMD, weight_BU.expand(x_BMD.shape[:2])
        return x_BMD, weight_BU.gather(1, at_BM)

    def _deciding(self, x_BTD: Tensor) -> Tensor:
        """The states that a choice goes by, [B, U, D]: each token's own; or of a sequence what all
        of its tokens may see, which is its first position, under a prefix mask the mean over the
        prefix, under a full mask that over everything.
        """
        if not self.as_one:
            return x_BTD
        if self.config.mask == "full":
            return x_BTD.mean(1, keepdim=True)
        if self.prefix_B is None:
            return x_BTD[:, :1]
        inside_BT = (
            torch.arange(x_BTD.shape[1], device=x_BTD.device) < self.prefix_B.clamp(min=1)[:, None]
        )
        share_BT = inside_BT / inside_BT.sum(1, keepdim=True)
        return (share_BT[..., None] * x_BTD).sum(1, keepdim=True)

    def _choose(self, step: int) -> Choice:
        if self.chooser is None:
            pool = self.config.layers + self.config.identity
            return certain(self.allowed[step][0], pool, step, self.x_BTD)
        choice, self.state = self.chooser(
            self._deciding(self.x_BTD), step, self.state, self.noise, self.position_BT
        )
        return choice._replace(
            chosen_BTK=self._settled("chosen", step, choice.chosen_BTK),
            weight_BTK=self._settled("mix", step, choice.weight_BTK),
        )

    def _settled(self, name: str, step: int, fresh_BU: Tensor) -> Tensor:
        """In decoding, the one route of a sequence is settled by its first token."""
        if self.cache is None or not self.as_one:
            return fresh_BU
        assert self.begins_B is not None
        return self.cache.settle(name, step, self.begins_B, fresh_BU)

    def _apply(
        self, step: int, chosen_BUK: Tensor, weight_BUK: Tensor, at_BM: Tensor | None
    ) -> Tensor:
        """The states after the chosen layers."""
        x_BTD, allowed, dispatch = self.x_BTD, self.allowed[step], self.dispatch
        if len(allowed) == 1 and self.halt is None:
            if allowed[0] < dispatch.layers:
                return dispatch.whole(x_BTD, (allowed[0], step), at_BM)
            return x_BTD if at_BM is None else pick(x_BTD, at_BM)
        if self.as_one and self.cache is None:
            return dispatch.sequences(x_BTD, chosen_BUK[:, 0], weight_BUK[:, 0], step, at_BM)
        length = x_BTD.shape[1]
        chosen_BTK, weight_BTK = (x.expand(-1, length, -1) for x in (chosen_BUK, weight_BUK))
        if at_BM is not None:
            index_BMK = at_BM[..., None].expand(-1, -1, chosen_BTK.shape[2])
            chosen_BTK, weight_BTK = (x.gather(1, index_BMK) for x in (chosen_BTK, weight_BTK))
        return dispatch.tokens(x_BTD, chosen_BTK, weight_BTK, step, allowed, at_BM)


def certain(layer: int, pool: int, step: int, like: Tensor) -> Choice:
    """One layer as a choice, [B, 1], that is certain."""
    chosen_B1K = torch.full((len(like), 1, 1), layer, device=like.device)
    probability_B1E = F.one_hot(chosen_B1K[..., 0], pool).float()
    zero_B1 = torch.zeros_like(probability_B1E[..., 0])
    return Choice(
        chosen_B1K,
        torch.ones_like(zero_B1)[..., None],
        probability_B1E,
        zero_B1,
        torch.zeros_like(probability_B1E),
        step,
    )


@dataclass
class StepOutputs:
    """What the model predicts from, gathered step by step: features at the targets. `norm` is the
    model's last one.

    Without halting they are those of the last step, or under a `cumulated` loss the sum over the
    steps, whose logits are the sum of the logits. With halting they are the norm of the states'
    mean by the steps' weights.
    """

    config: LayerRouter
    steps: int
    norm: Callable[[Tensor], Tensor]
    training: bool = False
    """Whether a loss is to follow."""
    each_step: bool = False
    """Whether the features after each step are asked for in any case."""
    each: list[Tensor] = field(default_factory=list)
    """[B, M, D]: what would be predicted from, had that step been the last."""
    weights: list[Tensor] = field(default_factory=list)
    """[B, M] of each step's loss."""
    sum_BMD: Tensor | None = None
    """Of the steps so far; None where only the last one counts."""
    left_BM: Tensor | None = None
    """Weight of a token that no step has had yet."""
    last_BMD: Tensor | None = None

    def __post_init__(self) -> None:
        halts = self.config.halting.kind
        self.many = self.training and (self.config.loss == "mean" or halts == "ponder")
        """Whether the loss is of every step's prediction."""

    def add(self, x_BMD: Tensor, weight_BM: Tensor | None) -> None:
        """The states after a step; with halting what the step weighs."""
        if self.config.loss == "cumulated":
            y_BMD = self.norm(x_BMD)
            self.sum_BMD = y_BMD if self.sum_BMD is None else self.sum_BMD + y_BMD
        elif weight_BM is not None:
            part_BMD = weight_BM[..., None] * x_BMD
            self.sum_BMD = part_BMD if self.sum_BMD is None else self.sum_BMD + part_BMD
            self.left_BM = (1 if self.left_BM is None else self.left_BM) - weight_BM
        self.last_BMD = x_BMD
        if self.each_step or self.many:
            self.each.append(self._so_far(x_BMD))
        if self.many:
            even_BM = torch.full_like(x_BMD[..., 0], 1 / self.steps, dtype=torch.float32)
            self.weights.append(even_BM if weight_BM is None else weight_BM)

    def final(self) -> Tensor:
        """Features [B, M, D] that the model predicts from after the last step."""
        assert self.last_BMD is not None, "there is at least one step"
        if self.sum_BMD is None:
            return self.norm(self.last_BMD)
        return self.sum_BMD if self.config.loss == "cumulated" else self.norm(self.sum_BMD)

    def _so_far(self, last_BMD: Tensor) -> Tensor:
        """Had this step been the last, it would have had all the weight that was left."""
        if self.sum_BMD is None or self.config.halting.kind == "ponder":
            return self.norm(last_BMD)
        if self.config.loss == "cumulated":
            return self.sum_BMD
        assert self.left_BM is not None
        return self.norm(self.sum_BMD + self.left_BM[..., None] * last_BMD)


def to_route(config: LayerRouter, choice: Choice, alive_BT: Tensor) -> Route:
    """What a step's choice tells, of the tokens that have not halted (bool).

    A choice for whole sequences, [B, 1], holds for all their tokens.

    The load counts the best layers, `top` of a token: under a `soft` selection the one that is
    applied when nothing is trained. With one route for a sequence its load alone is one layer, so
    `per: sequence` counts it over the sequences of the micro-batch too.
    """
    # One choice for each token; nothing is copied.
    tokens, alive_BT1 = (*alive_BT.shape, -1), alive_BT[..., None]
    chosen_BTK, probability_BTE = choice.chosen_BTK.expand(tokens), choice.probability_BTE
    probability_BTE = probability_BTE.expand(tokens)
    best_BTK = chosen_BTK[..., : config.top]
    took_BTK = alive_BT1.to(torch.float32).expand(best_BTK.shape)
    load_BE = took_BTK.new_zeros(len(alive_BT), probability_BTE.shape[-1]).scatter_add_(
        1, best_BTK.flatten(1), took_BTK.flatten(1)
    )
    num_alive = alive_BT.sum(dtype=torch.float32)
    entropy_BT = torch.special.entr(probability_BTE.detach()).sum(-1)
    routing = Routing(
        penalty=_penalty(config, choice, load_BE, alive_BT),
        load_E=load_BE.sum(0),
        entropy=(entropy_BT * alive_BT).sum() / num_alive.clamp(min=1),
        dropped=num_alive.new_zeros(()),
        tokens=num_alive,
    )
    log_prob_BT = choice.log_prob_BT.expand_as(alive_BT) * alive_BT
    return Route(chosen_BTK.masked_fill(~alive_BT1, -1), probability_BTE, log_prob_BT, routing)


def _penalty(config: LayerRouter, choice: Choice, load_BE: Tensor, alive_BT: Tensor) -> Tensor:
    """Over the layers that are balanced and that the step may choose, made to sum to 1 among
    themselves: how often the others are chosen costs nothing. The z-loss is of all.
    """
    even, total = config.balance, load_BE.new_zeros(())
    logits_BTE = choice.logits_BTE.expand(*alive_BT.shape, -1)
    counted = config.balanced(choice.step) if even.loss or even.entropy else []
    if counted:
        counted_BTE = logits_BTE[..., counted]
        share_BTE = counted_BTE.softmax(-1)
        if config.granularity == "sequence":
            even = even.model_copy(update={"per": "batch"})
        total = total + balance.unevenness(
            even, Scores(counted_BTE, share_BTE, share_BTE), load_BE[:, counted], alive_BT
        )
    if even.z_loss:
        total = total + even.z_loss * balance.size(logits_BTE, alive_BT)
    return total
