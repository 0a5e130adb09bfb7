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
        self.peak = matmul_peak(trial, device)
        self._began, self._began_at = time.perf_counter(), step

    def position(self, step: int) -> dict[str, float]:
        """Tokens, exposures and FLOPs of a trial at this step."""
        sequences = step * self._batch
        return {
            "tokens": float(sequences * self._shape.context),
            "exposures": sequences / self._shape.sequences,
            "flops": float(sequences * self._sequence_flops),
        }

    def speed(self, step: int) -> dict[str, float]:
        """Seconds of this attempt, and its throughput with evaluations counted in; none where it only evaluates.

        `mfu` is the share of the device's measured matmul peak; what activation checkpointing computes again does not count.
        """
        seconds = time.perf_counter() - self._began
        if step == self._began_at:
            return {"seconds": seconds}
        rate = (step - self._began_at) * self._batch / seconds
        flops = rate * self._sequence_flops
        return {"seconds": seconds, "tokens_per_second": rate * self._shape.context, "flops_per_second": flops, "mfu": flops / self.peak}
