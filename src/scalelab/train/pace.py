"""How far a trial has come, and how fast it goes."""

import time

import torch

from scalelab.data import TaskShape
from scalelab.plan.flops import train_flops
from scalelab.spec.experiment import Trial
from scalelab.train.peak import matmul_peak


class Pace:
    """The clock of one attempt, which began at some step. The device's peak is measured before the clock starts."""

    def __init__(self, trial: Trial, shape: TaskShape, device: torch.device, step: int) -> None:
        self._batch, self._shape = trial.batch, shape
        self._sequence_flops = train_flops(trial.model, shape.vocab, shape.context, shape.targets)
        self._device = device
        self.peak = matmul_peak(trial, device)
        self._began, self._began_at = time.perf_counter(), step
        self._since: tuple[float, int] | None = None
        self._seconds, self._updates = 0.0, 0

    def position(self, step: int) -> dict[str, float]:
        """Tokens, exposures and FLOPs of a trial at this step."""
        sequences = step * self._batch
        return {
            "tokens": float(sequences * self._shape.context),
            "exposures": sequences / self._shape.sequences,
            "flops": float(sequences * self._sequence_flops),
        }

    def updating(self, step: int) -> None:
        """The update after this step begins. The attempt's first one, which compiles, is not counted in the updates' own time."""
        if self._since is None and step > self._began_at:
            self._since = self._now(), step

    def pausing(self, step: int) -> None:
        """The updates make way at this step for an evaluation or a checkpoint. Waits for the device, as those do."""
        if self._since is not None:
            began, began_at = self._since
            self._seconds, self._updates = self._seconds + self._now() - began, self._updates + step - began_at
            self._since = None

    def speed(self, step: int) -> dict[str, float]:
        """Seconds of this attempt and its throughput; none where it only evaluates. Evaluations and checkpoints are counted in.

        `mfu`, the share of the device's measured matmul peak, is that of the updates alone: without evaluations, checkpoints and the
        first update, so that it is there from the second one on. What activation checkpointing computes again does not count.
        """
        self.pausing(step)
        seconds = time.perf_counter() - self._began
        if step == self._began_at:
            return {"seconds": seconds}
        rate = (step - self._began_at) * self._batch / seconds
        throughput = {"tokens_per_second": rate * self._shape.context, "flops_per_second": rate * self._sequence_flops}
        return {"seconds": seconds} | throughput | self._mfu()

    def _mfu(self) -> dict[str, float]:
        if not self._updates:
            return {}
        return {"mfu": self._updates * self._batch * self._sequence_flops / self._seconds / self.peak}

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()
