"""Windows cut from a stream of biographies.

B sequences of an update, b of them in a micro-batch, S = T + 1 tokens.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.families.objective import Batch
from scalelab.tasks.biography.data import BiographyData

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


def open_batches(trial: "Trial", data: BiographyData, device: torch.device) -> "BiographyBatches":
    """The batches of a trial."""
    return BiographyBatches(trial, data, device)


class BiographyBatches:
    """Windows of running text: every token but the first is predicted from those before it."""

    def __init__(self, trial: "Trial", data: BiographyData, device: torch.device) -> None:
        self._stream, self._device = data.stream(derive(trial.seed, "order"), trial.batch), device

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Batches`."""
        tokens_BS = torch.from_numpy(self._stream.at(step).astype("int64")).to(self._device)
        targets = torch.tensor(float(tokens_BS[:, 1:].numel()), device=self._device)
        return targets, (
            Batch(tokens_bS[:, :-1], tokens_bS[:, 1:]) for tokens_bS in tokens_BS.split(size)
        )
