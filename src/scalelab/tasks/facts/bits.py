"""Bits that a model has learned: the cross-entropy of the values against the log of their pools
(facts as in arXiv 2404.05405).

A model's answer to a question is a code for the value asked for, of -log2 p bits, and tells log2 S
+ log2 p bits of a value that was drawn from a pool of S. Where several people have a value from one
draw, the mean over them is what the model tells of that draw: each counts for its share. The draws
are independent, so what is told of each adds up, to no more than the data hold (`facts.fact_bits`),
and exactly to that for a model that knows every answer.

B rows of a batch, R rows, T positions, M loss positions of a row, S positions of a value, D width,
V vocabulary.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from scalelab.core.events import Interrupted
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.tasks.facts.data import Rows


@torch.inference_mode()
def missing_bits(
    model: LanguageModel,
    rows: Rows,
    chosen: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    device: torch.device,
    *,
    batch: int = 512,
    stopping: Callable[[], bool] = lambda: False,
) -> float:
    """-log2 of the probability of the value and the full stop that ends it, given the dialog before
    it, times the share of each of the chosen rows: the mean over them.

    A model that draws from the right pool misses log2 of its size, one that knows the value misses
    nothing. `stopping` is asked before every batch; Interrupted is raised where it turns true.
    """
    nats = 0.0
    for start in range(0, len(chosen), batch):
        if stopping():
            raise Interrupted
        part = slice(start, start + batch)
        nats += _nats(model, rows, chosen[part], shares[part], device)
    return nats / math.log(2) / len(chosen)


def _nats(
    model: LanguageModel,
    rows: Rows,
    chosen_B: npt.NDArray[np.int64],
    share_B: npt.NDArray[np.float64],
    device: torch.device,
) -> float:
    inside_BM = rows.values_RM[chosen_B]
    width = int(inside_BM.sum(1).max())
    column_BS = np.minimum(inside_BM.argmax(1)[:, None] + np.arange(width), inside_BM.shape[1] - 1)
    weights_BS = torch.from_numpy(
        np.take_along_axis(inside_BM, column_BS, 1) * share_B[:, None]
    ).to(device)
    at_BS = torch.from_numpy(np.take_along_axis(rows.targets_RM[chosen_B], column_BS, 1)).to(device)
    tokens_BT = torch.from_numpy(rows.tokens_RT[chosen_B].astype(np.int64)).to(device)
    prefix_B = torch.from_numpy(rows.given_R[chosen_B]).to(device)
    x_BSD = model.trunk(tokens_BT[:, :-1], Layout(targets_BM=at_BS, prefix_B=prefix_B))
    nats_BS = F.cross_entropy(
        model.head(x_BSD).flatten(0, 1), tokens_BT.gather(1, at_BS + 1).flatten(), reduction="none"
    ).view_as(at_BS)
    return (nats_BS.double() * weights_BS).sum().item()
