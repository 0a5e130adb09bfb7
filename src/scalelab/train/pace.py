"""How far a trial has come, and how fast it goes."""

import time
from typing import NamedTuple

import torch

from scalelab.spec.experiment import Trial
from scalelab.tasks.task import TaskShape
from scalelab.train.peak import matmul_peak


class Position(NamedTuple):
    """How far a trial has come."""

    step: int
    """Updates done."""
    flops: int
    """FLOPs that they have run, forward and backward."""


class Pace:
    """The clock of one attempt, which began at some position.

    The device's peak is measured before the clock starts.
    """

    def __init__(
        self, trial: Trial, shape: TaskShape, device: torch.device, begin: Position
    ) -> None:
        self._batch, self._shape = trial.batch, shape
        self._device = device
        self.peak = matmul_peak(trial, device)
        self._began, self._begin = time.perf_counter(), begin
        self._since: tuple[float, Position] | None = None
        self._seconds, self._flops = 0.0, 0

    def position(self, at: Position) -> dict[str, float]:
        """Tokens, exposures and FLOPs of a trial that has come this far."""
        sequences = at.step * self._batch
        return {
            "tokens": float(sequences * self._shape.context),
            "exposures": sequences / self._shape.sequences,
            "flops": float(at.flops),
        }

    def updating(self, at: Position) -> None:
        """The update after this position begins.

        The attempt's first one, which compiles, is not counted in the updates' own time.
        """
        if self._since is None and at.step > self._begin.step:
            self._since = self._now(), at

    def pausing(self, at: Position) -> None:
        """The updates make way here for an evaluation or a checkpoint.

        Waits for the device, as those do.
        """
        if self._since is not None:
            began, since = self._since
            self._seconds, self._flops = (
                self._seconds + self._now() - began,
                self._flops + at.flops - since.flops,
            )
            self._since = None

    def speed(self, at: Position) -> dict[str, float]:
        """Seconds of this attempt and its throughput; none where it only evaluates.

        Evaluations and checkpoints are counted in.

        `mfu`, the share of the device's measured matmul peak, is that of the updates alone: without
        evaluations, checkpoints and the first update, so that it is there from the second one on.
        What activation checkpointing computes again does not count.
        """
        self.pausing(at)
        seconds = time.perf_counter() - self._began
        if at.step == self._begin.step:
            return {"seconds": seconds}
        tokens = (at.step - self._begin.step) * self._batch * self._shape.context
        throughput = {
            "tokens_per_second": tokens / seconds,
            "flops_per_second": (at.flops - self._begin.flops) / seconds,
        }
        mfu = {"mfu": self._flops / self._seconds / self.peak} if self._flops else {}
        return {"seconds": seconds} | throughput | mfu

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()
