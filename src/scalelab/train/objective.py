"""The training loss: cross-entropy where a dialog's loss falls, and the head nowhere else.

Shapes: B sequences, T positions, M targets in a row, D width, V vocabulary, R rows of the table.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scalelab.data import Rows
from scalelab.models import Transformer
from scalelab.models.layers.cross_entropy import cross_entropy


@dataclass(frozen=True)
class Batch:
    """Rows on the device."""

    tokens_BT: Tensor
    targets_BM: Tensor
    """Positions whose next token bears loss, padded with 0."""
    labels_BM: Tensor
    weights_BM: Tensor
    """1 where there is a target, 0 where there is padding."""
    given_B: Tensor
    """How many leading positions are given text, for a prefix mask."""

    @classmethod
    def of(cls, rows: Rows, device: torch.device) -> "Batch":
        """Every row that a training pass can show."""
        tokens_RS = torch.from_numpy(rows.tokens_RT.astype("int16"))
        targets_RM, weights_RM, given_R = (torch.from_numpy(part) for part in (rows.targets_RM, rows.weights_RM, rows.given_R))
        labels_RM = tokens_RS.gather(1, targets_RM + 1)
        parts = (tokens_RS[:, :-1], targets_RM, labels_RM, weights_RM, given_R)
        return cls(*(part.to(device) for part in parts))

    def pick(self, rows_B: Tensor) -> "Batch":
        """These rows, ready for a model."""
        return Batch(
            self.tokens_BT[rows_B].long(),
            self.targets_BM[rows_B],
            self.labels_BM[rows_B].long(),
            self.weights_BM[rows_B],
            self.given_B[rows_B],
        )


def summed_loss(model: Transformer, batch: Batch) -> Tensor:
    """Sum over the batch's targets of -ln p(label), in nats."""
    x_BMD = model.trunk(batch.tokens_BT, batch.given_B, batch.targets_BM)
    nats_N = cross_entropy(model.head(x_BMD).flatten(0, 1), batch.labels_BM.flatten())
    return (nats_N * batch.weights_BM.flatten()).sum()
