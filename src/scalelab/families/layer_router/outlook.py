"""What a router over layers predicts from, gathered step by step.

B lanes, M positions asked for, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scalelab.families.layer_router.spec import LayerRouter


@dataclass
class Outlook:
    """Features at the positions asked for; `norm` is the model's last one.

    Without halting they are those of the last step, or under a `cumulated` loss the sum over the
    steps, whose logits are the sum of the logits. With halting they are the norm of the states'
    mean by the steps' weights.
    """

    given: LayerRouter
    norm: Callable[[Tensor], Tensor]
    trains: bool = False
    """Whether a loss is to follow."""
    each_step: bool = False
    """Whether the features after each step are asked for in any case."""
    each: list[Tensor] = field(default_factory=list)
    """[B, M, D]: what would be predicted from, had that step been the last."""
    weights: list[Tensor] = field(default_factory=list)
    """[B, M] of each step's loss."""
    _sum: Tensor | None = None
    _left: Tensor | None = None
    """What no step has had yet of a token's weight."""
    _last: Tensor | None = None

    def add(self, x_BMD: Tensor, weight_BM: Tensor | None) -> None:
        """The states after a step; with halting what the step weighs."""
        if self.given.loss == "cumulated":
            y_BMD = self.norm(x_BMD)
            self._sum = y_BMD if self._sum is None else self._sum + y_BMD
        elif weight_BM is not None:
            part_BMD = weight_BM[..., None] * x_BMD
            self._sum = part_BMD if self._sum is None else self._sum + part_BMD
            self._left = (1 if self._left is None else self._left) - weight_BM
        self._last = x_BMD
        if self.each_step or self._many:
            self.each.append(self._now())
        if self._many:
            even_BM = torch.full_like(x_BMD[..., 0], 1 / self.given.num_steps, dtype=torch.float32)
            self.weights.append(even_BM if weight_BM is None else weight_BM)

    def final(self) -> Tensor:
        """Features [B, M, D] that the model predicts from after the last step."""
        assert self._last is not None, "there is at least one step"
        if self._sum is None:
            return self.norm(self._last)
        return self._sum if self.given.loss == "cumulated" else self.norm(self._sum)

    @property
    def _many(self) -> bool:
        """Whether the loss is of every step's prediction."""
        return self.trains and (self.given.loss == "mean" or self.given.halting.kind == "ponder")

    def _now(self) -> Tensor:
        """Had this step been the last, it would have had all the weight that was left."""
        assert self._last is not None
        if self._sum is None or self.given.halting.kind == "ponder":
            return self.norm(self._last)
        if self.given.loss == "cumulated":
            return self._sum
        assert self._left is not None
        return self.norm(self._sum + self._left[..., None] * self._last)
