"""Evaluation: what a trained model recalls, how many bits it has learned, how well it predicts text
and does sums.
"""

from collections.abc import Callable

import torch

from scalelab.data import ArithmeticData, BiographyData, Data, FactsData
from scalelab.evaluate.arithmetic import ArithmeticTest
from scalelab.evaluate.capacity import CapacityTest
from scalelab.evaluate.recall import RecallTest
from scalelab.evaluate.text import TextTest
from scalelab.families.cost import parameters
from scalelab.families.language_model import LanguageModel
from scalelab.spec.experiment import Trial

__all__ = ["ArithmeticTest", "CapacityTest", "RecallTest", "TextTest", "build_test", "notes"]

Test = RecallTest | CapacityTest | TextTest | ArithmeticTest


def build_test(
    trial: Trial, data: Data, device: torch.device, stopping: Callable[[], bool]
) -> Test:
    """The test of a trial's task.

    It has `quick` (at every evaluation) and `full` (at the end), from a model to metrics by name.
    """
    if isinstance(data, FactsData):
        stop = trial.evaluation.stop
        watched = None if stop is None else stop.metric
        return RecallTest(data, device, stopping, trial.seed, watched)
    if isinstance(data, BiographyData):
        shape = data.shape
        return CapacityTest(
            data, parameters(trial.model, shape.vocab, shape.context, shape.used), device, stopping
        )
    if isinstance(data, ArithmeticData):
        return ArithmeticTest(trial, data, device, stopping)
    return TextTest(trial, data, device, stopping)


def notes(test: Test, model: LanguageModel) -> dict[str, str]:
    """Texts about a model that stay with its trial in the store, as `data:` URLs by name."""
    return test.notes(model) if isinstance(test, TextTest | ArithmeticTest) else {}
