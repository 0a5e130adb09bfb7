"""Tokens on their way through the steps of a router over layers.

B lanes, T positions, M positions asked for, U positions that choose (T, or 1 where a sequence takes
one route), D width, K layers that are applied at a step, E layers of the pool.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.families.layer_router.choosing import Choice, Chooser
from scalelab.families.layer_router.dispatch import Dispatch
from scalelab.families.layer_router.drawing import Draws
from scalelab.families.layer_router.halting import Halting, HaltState
from scalelab.families.layer_router.scoring import State
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.transformer.layer import pick
from scalelab.layers.cache import RoutedCache


@dataclass
class Walk:
    """One pass.

    `x_BTD` are the states of the tokens after the steps so far, of which `step` takes the next.
    """

    given: LayerRouter
    chooser: Chooser | None
    halting: Halting | None
    dispatch: Dispatch
    x_BTD: Tensor
    at_BM: Tensor | None = None
    prefix_B: Tensor | None = None
    draws: Draws | None = None
    position_BT: Tensor | None = None
    """Where the tokens stand; from 0 on where it is None."""
    cache: RoutedCache | None = None
    begins_B: Tensor | None = None
    """With a cache: the lanes whose first token is among these."""
    state: State | None = None
    halt: HaltState | None = None

    def __post_init__(self) -> None:
        lanes, units = len(self.x_BTD), 1 if self.as_one else self.x_BTD.shape[1]
        self.state = None if self.chooser is None else self.chooser.start(lanes, units, self.x_BTD)
        self.halt = None if self.halting is None else self.halting.start(lanes, units, self.x_BTD)

    @property
    def as_one(self) -> bool:
        """Whether the tokens of a sequence take one route."""
        return self.given.granularity == "sequence"

    @property
    def alive_BU(self) -> Tensor | None:
        """Who goes through the next step; None where nobody halts."""
        return None if self.halt is None else self.halt.alive_BT

    def step(self, step: int) -> Choice:
        """Take a step.

        The last one computes the states at the positions asked for alone: [B, M, D].
        """
        choice, alive_BU = self._choose(step), self.alive_BU
        at_BM = self.at_BM if step == self.given.num_steps - 1 else None
        if alive_BU is not None and self.cache is not None and self.as_one:
            alive_BU = self._settled("alive", step, alive_BU)
        chosen_BUK = (
            choice.chosen_BTK
            if alive_BU is None
            else choice.chosen_BTK.masked_fill(~alive_BU[..., None], -1)
        )
        old_BTD, self.x_BTD = self.x_BTD, self._applied(step, chosen_BUK, choice.weight_BTK, at_BM)
        if self.halting is not None and self.halt is not None:
            # What the last step weighs depends on those before it alone: any states will do.
            halt: HaltState = self.halting(
                self._deciding(self.x_BTD if at_BM is None else old_BTD), step, self.halt
            )
            settles = self.cache is not None and self.as_one
            self.halt = (
                halt._replace(weight_BT=self._settled("weight", step, halt.weight_BT))
                if settles
                else halt
            )
        return choice

    def asked(self, step: int) -> tuple[Tensor, Tensor | None]:
        """After a step: the states [B, M, D] at the positions asked for, and with halting what the
        step weighs there, [B, M].
        """
        last, at_BM = step == self.given.num_steps - 1, self.at_BM
        x_BMD = self.x_BTD if last or at_BM is None else pick(self.x_BTD, at_BM)
        if self.halt is None:
            return x_BMD, None
        weight_BU = self.halt.weight_BT
        return x_BMD, weight_BU.expand(
            x_BMD.shape[:2]
        ) if self.as_one or at_BM is None else weight_BU.gather(1, at_BM)

    def _deciding(self, x_BTD: Tensor) -> Tensor:
        """The states that a choice goes by, [B, U, D]: each token's own; or of a sequence what all
        of its tokens may see, which is its first position, under a prefix mask the mean over the
        given text, under a full mask that over everything.
        """
        if not self.as_one:
            return x_BTD
        if self.given.mask == "full":
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
            return fixed(self.given, step, self.x_BTD)
        choice, self.state = self.chooser(
            self._deciding(self.x_BTD), step, self.state, self.draws, self.position_BT
        )
        if self.cache is None or not self.as_one:
            return choice
        chosen_B1K = self._settled("chosen", step, choice.chosen_BTK)
        return choice._replace(
            chosen_BTK=chosen_B1K, weight_BTK=self._settled("mix", step, choice.weight_BTK)
        )

    def _settled(self, name: str, step: int, fresh_BU: Tensor) -> Tensor:
        assert self.cache is not None and self.begins_B is not None
        return self.cache.settle(name, step, self.begins_B, fresh_BU)

    def _applied(
        self, step: int, chosen_BUK: Tensor, weight_BUK: Tensor, at_BM: Tensor | None
    ) -> Tensor:
        """The states after the chosen layers."""
        allowed = self.given.allowed[step]
        if len(allowed) == 1 and self.halt is None:
            if allowed[0] < self.given.layers:
                return self.dispatch.whole(self.x_BTD, (allowed[0], step), at_BM)
            return self.x_BTD if at_BM is None else pick(self.x_BTD, at_BM)
        if self.as_one and self.cache is None:
            return self.dispatch.sequences(
                self.x_BTD, chosen_BUK[:, 0], weight_BUK[:, 0], step, at_BM
            )
        chosen_BTK, weight_BTK = (
            part.expand(-1, self.x_BTD.shape[1], -1) for part in (chosen_BUK, weight_BUK)
        )
        if at_BM is not None:
            index_BMK = at_BM[..., None].expand(-1, -1, chosen_BTK.shape[2])
            chosen_BTK, weight_BTK = (
                chosen_BTK.gather(1, index_BMK),
                weight_BTK.gather(1, index_BMK),
            )
        return self.dispatch.tokens(self.x_BTD, chosen_BTK, weight_BTK, step, allowed, at_BM)


def fixed(given: LayerRouter, step: int, like: Tensor) -> Choice:
    """The layer of a fixed order as a choice, [B, 1], that is certain."""
    chosen_B1K = torch.full((len(like), 1, 1), given.allowed[step][0], device=like.device)
    probability_B1E = F.one_hot(chosen_B1K[..., 0], given.pool).float()
    zero_B1 = torch.zeros_like(probability_B1E[..., 0])
    return Choice(
        chosen_B1K,
        torch.ones_like(zero_B1)[..., None],
        probability_B1E,
        zero_B1,
        torch.zeros_like(probability_B1E),
        step,
    )
