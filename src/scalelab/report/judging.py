"""Which of several arms differ from what they are compared to: all of them judged together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from scalelab.fit.estimate import Estimate
from scalelab.fit.multiple import LEVEL, holm
from scalelab.fit.warned import Warned
from scalelab.report.arms import Arm
from scalelab.report.runs import state_counts

METHOD = (
    "Arms of one setting that one question is asked of are judged together: the p-values of their"
    " paired t tests (two-sided) are corrected by Holm's step-down procedure (1979), and an arm is"
    f" called better or worse where its own is at most {LEVEL}. So any arm is called so wrongly"
    f" with a probability of at most {100 * LEVEL:.0f} %. The intervals are each arm's own, without"
    " this correction: one may exclude zero where its arm is not told apart."
)


@dataclass(frozen=True)
class Judged:
    """An arm against another one."""

    arm: Arm
    base: Arm
    found: Estimate
    """The difference, or the ratio, of the arm to the base."""
    p: float | None
    """The p-value, adjusted for all that were judged together; None where nothing tells."""
    count: int
    """How many were judged together."""

    @property
    def is_told(self) -> bool:
        """Whether the arm is told from its base."""
        return self.p is not None and self.p <= LEVEL

    @property
    def correction(self) -> str:
        """`p = 0.03 corrected for 5 arms`; empty without a p-value."""
        if self.p is None:
            return ""
        corrected = f" corrected for {self.count} arms" if self.count > 1 else ""
        return f"p = {self.p:.2g}{corrected}"

    def to_json(self) -> dict[str, Any]:
        """Whose difference it is, and its p-values."""
        return {
            "arm": self.arm.name,
            "setting": self.arm.setting,
            "against": self.base.name,
            "p": self.found.p,
            "p_holm": self.p,
            "judged_together": self.count,
        }


def judged(compared: Sequence[tuple[Arm, Arm, Estimate]]) -> list[Judged]:
    """Arms, their bases, and how they differ: judged together."""
    known = [found.p for _, _, found in compared if found.p is not None]
    adjusted = iter(holm(known).tolist())
    return [
        Judged(arm, base, found, None if found.p is None else next(adjusted), len(known))
        for arm, base, found in compared
    ]


def left_out(trials: pl.DataFrame) -> list[Warned]:
    """That some trials have no result, where some have failed or diverged."""
    lost = {
        state: count
        for state, count in state_counts(trials).items()
        if state in ("diverged", "failed")
    }
    if not lost:
        return []
    listed = " and ".join(f"{count:,} {state}" for state, count in lost.items())
    text = (
        f"{listed} trials are left out: an arm that loses its worst replicates looks better than it"
        " is."
    )
    return [Warned("left_out", text)]
