"""A table of every dialog on the device, from which updates pick rows.

B sequences of an update, b of them in a micro-batch, T positions, S = T + 1 tokens, M targets in a
row, R rows of the table.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch
from scalelab.tasks.facts.data import FactsData

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


def open_batches(trial: "Trial", data: FactsData, device: torch.device) -> "FactBatches":
    """The batches of a trial."""
    return FactBatches(trial, data, device)


class FactBatches:
    """Every dialog lies on the device once, and an update picks its rows."""

    def __init__(self, trial: "Trial", data: FactsData, device: torch.device) -> None:
        self._order, self._device = data.order(derive(trial.seed, "order"), trial.batch), device
        rows = data.rows()
        tokens_RS = torch.from_numpy(rows.tokens_RT.astype("int16"))
        targets_RM, weights_RM, given_R = (
            torch.from_numpy(part) for part in (rows.targets_RM, rows.weights_RM, rows.given_R)
        )
        labels_RM = tokens_RS.gather(1, targets_RM + 1)
        self._tokens_RT, self._labels_RM = tokens_RS[:, :-1].to(device), labels_RM.to(device)
        self._targets_RM, self._weights_RM, self._given_R = (
            part.to(device) for part in (targets_RM, weights_RM, given_R)
        )

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Batches`. Each fact is shown once in every pass."""
        rows_B = torch.from_numpy(self._order.rows(step)).to(self._device)
        return self._weights_RM[rows_B].sum(), (self._pick(rows_b) for rows_b in rows_B.split(size))

    def _pick(self, rows_b: Tensor) -> Batch:
        return Batch(
            self._tokens_RT[rows_b].long(),
            self._labels_RM[rows_b].long(),
            self._weights_RM[rows_b],
            Layout(targets_BM=self._targets_RM[rows_b], prefix_B=self._given_R[rows_b]),
        )
