"""The training loss: cross-entropy where a dialog's loss falls, and the head nowhere else.

Shapes: B sequences, T positions, M targets in a row, D width, V vocabulary, R rows of the table.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.data import Rows
from scalelab.models import Transformer


@dataclass(frozen=True)
class Table:
    """Every row that a training pass can show, on the device."""

    tokens_RT: Tensor
    targets_RM: Tensor
    labels_RM: Tensor
    weights_RM: Tensor

    @classmethod
    def on(cls, rows: Rows, device: torch.device) -> "Table":
        """The rows' inputs, target positions, labels and weights as tensors."""
        tokens_RS = torch.from_numpy(rows.tokens_RT.astype("int16"))
        targets_RM = torch.from_numpy(rows.targets_RM)
        labels_RM = tokens_RS.gather(1, targets_RM + 1)
        weights_RM = torch.from_numpy(rows.weights_RM)
        return cls(tokens_RS[:, :-1].to(device), targets_RM.to(device), labels_RM.to(device), weights_RM.to(device))

    def batch(self, rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """tokens_BT, targets_BM, labels_BM, weights_BM of the rows."""
        return self.tokens_RT[rows_B].long(), self.targets_RM[rows_B], self.labels_RM[rows_B].long(), self.weights_RM[rows_B]


def summed_loss(model: Transformer, tokens_BT: Tensor, targets_BM: Tensor, labels_BM: Tensor, weights_BM: Tensor) -> Tensor:
    """Sum over the batch's targets of -ln p(label), in nats."""
    x_BTD = model.trunk(tokens_BT)
    x_BMD = x_BTD.gather(1, targets_BM.unsqueeze(-1).expand(-1, -1, x_BTD.shape[-1]))
    logits_BMV = model.head(x_BMD).float()
    nats_N = F.cross_entropy(logits_BMV.flatten(0, 1), labels_BM.flatten(), reduction="none")
    return (nats_N * weights_BM.flatten()).sum()
