"""Problems with their answers.

B sequences, S = T + 1 tokens, M targets in a row.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.families.layout import Layout
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
        tokens_BS, targets_BM, weights_BM = (
            torch.from_numpy(part).to(self._device)
            for part in (rows.tokens_RS.astype(np.int64), rows.targets_RM, rows.weights_RM)
        )
        layout = Layout(targets_BM=targets_BM, prefix_B=targets_BM[:, 0] + 1)
        batch = Batch(tokens_BS[:, :-1], tokens_BS.gather(1, targets_BM + 1), weights_BM, layout)
        return weights_BM.sum(), batch.split(size)
