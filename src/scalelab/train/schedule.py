"""Learning-rate schedules: closed forms of the step, so that a resumed run needs no state."""

import math

from scalelab.spec.optim import Constant, Cosine, Linear, Wsd


def share_of_peak(schedule: Constant | Cosine | Linear | Wsd, step: int, steps: float) -> float:
    """Learning rate of the update number `step` (from 0) out of `steps`, as a share of the peak.

    `steps` need not be whole: where a trial ends by its FLOPs it is what they promise at this step.
    """
    warmup = min(1.0, (step + 1) / (schedule.warmup + 1))
    if isinstance(schedule, Constant):
        return warmup
    if isinstance(schedule, Wsd):
        left = (steps - 1 - step) / max(1.0, schedule.decay * steps)
        return warmup * (schedule.floor + (1 - schedule.floor) * min(1.0, max(0.0, left)))
    passed = min(1.0, max(0, step - schedule.warmup) / max(1, steps - 1 - schedule.warmup))
    if isinstance(schedule, Linear):
        return warmup * (schedule.floor + (1 - schedule.floor) * (1 - passed))
    return warmup * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * passed)))
