"""Predicted times: from the speed of finished trials in this store, or a stated guess where there
are none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scalelab.plan.plan import PlannedTrial

GUESSED_FLOPS_PER_SECOND = 8e9
"""A small model on one CPU core: what a prediction rests on before anything has run."""


@dataclass(frozen=True)
class Speed:
    """What a finished attempt reached: model size, FLOP/s with its evaluations counted in."""

    params: int
    flops_per_second: float


class Clock:
    """Predicts a trial's seconds from the FLOP/s of trials of about its size."""

    def __init__(self, speeds: Sequence[Speed]) -> None:
        self.speeds = [speed for speed in speeds if speed.flops_per_second > 0]

    @property
    def basis(self) -> str:
        """What the prediction rests on, in words."""
        if self.speeds:
            return f"the measured speed of {len(self.speeds)} finished trials in this store"
        return (
            f"a guess of {GUESSED_FLOPS_PER_SECOND:.0e} FLOP/s, as no trial has finished in this"
            " store"
        )

    def seconds(self, planned: PlannedTrial) -> float:
        """Seconds on one slot, if the trial trains to the end of its budget."""
        if not self.speeds:
            return planned.flops / GUESSED_FLOPS_PER_SECOND
        # Small models run at far fewer FLOP/s than large ones: the five nearest in size speak.
        params = planned.params.total
        near = sorted(self.speeds, key=lambda speed: abs(math.log(speed.params / params)))[:5]
        return planned.flops / median(speed.flops_per_second for speed in near)
