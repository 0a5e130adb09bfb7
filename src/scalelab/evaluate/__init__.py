"""Evaluation: what a trained model recalls, and how many bits it has learned."""

from collections.abc import Callable

import torch

from scalelab.data import BiographyData, FactsData
from scalelab.evaluate.capacity import CapacityTest
from scalelab.evaluate.recall import RecallTest
from scalelab.plan.counts import parameters
from scalelab.spec.experiment import Trial

__all__ = ["CapacityTest", "RecallTest", "build_test"]


def build_test(
    trial: Trial, data: FactsData | BiographyData, device: torch.device, stopping: Callable[[], bool]
) -> RecallTest | CapacityTest:
    """The test of a trial's task. It has `quick` (at every evaluation) and `full` (at the end), from a model to metrics by name."""
    if isinstance(data, FactsData):
        return RecallTest(data, device, stopping)
    shape = data.shape
    return CapacityTest(data, parameters(trial.model, shape.vocab, shape.context, shape.used), device, stopping)
