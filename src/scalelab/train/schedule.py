"""Learning-rate schedules: closed forms of the step, so that a resumed run needs no state.

Every schedule rises as (s + 1) / (w + 1) to the peak, where s counts the updates from 0 and w of
them are warm-up. It falls from there over the rest of the S updates, `wsd` over the last
`decay` S, in a line or (`cosine`) a half cosine:

- With a floor above 0 the last update is at the floor.
- With a floor of 0 the rate would be 0 one update after the last, because an update at rate 0
  trains nothing. The last update has 1 / (S - w) of the peak under `linear`, 1 / (decay S) under
  `wsd`, and sin(pi / (2 (S - w)))^2 under `cosine`. `wsd` with `decay: 0` stays at the peak.
"""

import math

from scalelab.spec.optim import Constant, Cosine, Linear, Wsd


def share_of_peak(schedule: Constant | Cosine | Linear | Wsd, step: int, steps: float) -> float:
    """Learning rate of the update number `step` (from 0) out of `steps`, as a share of the peak.

    `steps` need not be whole: where a trial ends by its FLOPs it is what they promise at this step.
    The update itself counts in full, however little of the budget is left for it.
    """
    warmup = min(1.0, (step + 1) / (schedule.warmup + 1))
    if isinstance(schedule, Constant):
        return warmup
    if schedule.floor == 0:
        return warmup * _to_zero(schedule, step, max(steps, step + 1))
    return warmup * (schedule.floor + (1 - schedule.floor) * _to_floor(schedule, step, steps))


def _to_zero(schedule: Cosine | Linear | Wsd, step: int, steps: float) -> float:
    """1 at the peak, and 0 one update after the last."""
    falling = schedule.decay * steps if isinstance(schedule, Wsd) else steps - schedule.warmup
    left = min(1.0, (steps - step) / max(1.0, falling))
    return math.sin(math.pi / 2 * left) ** 2 if isinstance(schedule, Cosine) else left


def _to_floor(schedule: Cosine | Linear | Wsd, step: int, steps: float) -> float:
    """1 at the peak, and 0 in the last update."""
    if isinstance(schedule, Wsd):
        return min(1.0, max(0.0, (steps - 1 - step) / max(1.0, schedule.decay * steps)))
    passed = min(1.0, max(0, step - schedule.warmup) / max(1, steps - 1 - schedule.warmup))
    if isinstance(schedule, Linear):
        return 1 - passed
    return 0.5 * (1 + math.cos(math.pi * passed))
