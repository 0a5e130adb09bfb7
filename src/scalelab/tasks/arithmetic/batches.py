"""Problems with their answers.

B sequences, S = T + 1 tokens, M targets in a row.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.families.objective import Batch
from scalelab.tasks.arithmetic.data import ArithmeticData

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


def open_batches(trial: "Trial", data: ArithmeticData, device: torch.device) -> "ArithmeticBatches":
    """The batches of a trial."""
    return ArithmeticBatches(trial, data, device)


class ArithmeticBatches:
    """Arithmetic: the loss falls on answers alone, and a prefix mask gives what stands
    before them.
    """

    def __init__(self, trial: "Trial", data: ArithmeticData, device: torch.device) -> None:
        self._stream, self._device = data.stream(derive(trial.seed, "order"), trial.batch), device

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Batches`."""
        rows = self._stream.at(step)
        tokens_BS = torch.from_numpy(rows.tokens_RS.astype(np.int64))
        targets_BM, weights_BM = (
            torch.from_numpy(rows.targets_RM),
            torch.from_numpy(rows.weights_RM),
        )
        labels_BM = tokens_BS.gather(1, targets_BM + 1)
        parts = (tokens_BS[:, :-1], labels_BM, targets_BM, weights_BM, targets_BM[:, 0] + 1)
        return weights_BM.sum().to(self._device), Batch(
            *(part.to(self._device) for part in parts)
        ).split(size)
