"""Windows of a corpus.

B sequences of an update.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.families.objective import Batch
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.device import put
from scalelab.tasks.text.objectives import examples

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


def open_batches(trial: "Trial", data: TextData, device: torch.device) -> "TextBatches":
    """The batches of a trial."""
    return TextBatches(trial, data, device)


class TextBatches:
    """Windows of a corpus, under the objective of its task.

    Where every position bears loss no targets are listed.
    """

    def __init__(self, trial: "Trial", data: TextData, device: torch.device) -> None:
        self._data, self._batch, self._device = data, trial.batch, device
        self._stream, self._seed = (
            data.stream(derive(trial.seed, "order"), trial.batch),
            derive(trial.seed, "objective"),
        )

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Batches`.

        What is given or hidden is drawn anew for every window of the training, whichever
        micro-batch it is in.
        """
        window_B = np.arange(step * self._batch, (step + 1) * self._batch)
        seen = examples(
            self._data.task, self._data.manifest, self._stream.at(step), window_B, self._seed
        )
        batch = put(seen, self._device)
        return torch.tensor(float(seen.targets), device=self._device), batch.split(size)
