"""The capacity test: every person's biography is scored, and the loss of its pieces tells how many
bits the model holds.

R biographies, b of them in a batch, T positions, Q positions whose next token belongs to a piece, P
pieces (see `data.Probes`), D width, V vocabulary.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from scalelab.core.events import Interrupted
from scalelab.evaluate.mode import evaluating
from scalelab.families.cost import Parameters, parameters
from scalelab.families.language_model import LanguageModel
from scalelab.tasks.biography.complexity import Nats, learned, most
from scalelab.tasks.biography.data import BiographyData, Probes
from scalelab.tasks.biography.sentences import NAME, VALUE
from scalelab.tasks.task import Test

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial

SAMPLE = 1024
"""Biographies that an evaluation during training scores: where there are more people, its bits are
an estimate.
"""

_LANES = {"cpu": 32, "cuda": 512}


def open_test(
    trial: "Trial", data: BiographyData, device: torch.device, stopping: Callable[[], bool]
) -> "CapacityTest":
    """The test of a trial."""
    shape = data.shape
    params = parameters(trial.model, shape.vocab, shape.context, shape.used)
    return CapacityTest(data, params, device, stopping)


class CapacityTest(Test):
    """Bits and recall of a model on one task, on one device.

    Raises Interrupted where `stopping()` turns true on the way.
    """

    def __init__(
        self,
        data: BiographyData,
        params: Parameters,
        device: torch.device | str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data, self.params, self.device, self.stopping = (
            data,
            params,
            torch.device(device),
            stopping,
        )
        self._exact = torch.float32 if self.device.type == "mps" else torch.float64

    def quick(self, model: LanguageModel) -> dict[str, float]:
        """The metrics of `full` while a model trains, from a sample of the people."""
        return self._metrics(model, self._sample)

    def full(self, model: LanguageModel) -> dict[str, float]:
        """The final metrics of a model.

        `bits`: what it has learned of names and values (see `complexity`), `bits_max`: what there
        is to learn, `share`: the one by the other; negative where a model is worse than one that
        draws from the right pools. `bits_per_param`: bits by parameters without the rows of tokens
        that never occur, `bits_per_param_total`: by all of them. `name_nats`, `value_nats`,
        `first_nats` (bioD): the mean loss of a name, of a person's values together (bioD: of one
        value) and of a value's first chunk. `recall`: share of the values of which every token is
        the likeliest one.
        """
        return self._metrics(model, self._everyone)

    def _metrics(self, model: LanguageModel, probes: Probes) -> dict[str, float]:
        pools = self.data.complexity()
        with evaluating(model):
            nats, recall = self._score(model, probes)
        bits, bits_max = learned(pools, nats), most(pools)
        used = self.params.total if self.params.used is None else self.params.used
        first = {} if nats.first is None else {"first_nats": nats.first}
        return {
            "bits": bits,
            "bits_max": bits_max,
            "share": bits / bits_max,
            "bits_per_param": bits / used,
            "bits_per_param_total": bits / self.params.total,
            "name_nats": nats.name,
            "value_nats": nats.value,
            "recall": recall,
            **first,
        }

    def _score(self, model: LanguageModel, probes: Probes) -> tuple[Nats, float]:
        """Mean losses of the pieces, and the recall of the values."""
        pieces, by_value = int(probes.piece_RT.max()) + 1, self.data.task.text.kind == "bioD"
        batches = [
            self._batch(model, probes, at, pieces) for at in self._batches(len(probes.tokens_RT))
        ]
        nats_RP, wrong_RP, first_R = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        values = pieces - VALUE
        nats = Nats(
            name=float(nats_RP[:, NAME].mean()),
            value=float(nats_RP[:, VALUE:].sum(1).mean()) / (values if by_value else 1),
            first=float(first_R.mean()) / values if by_value else None,
        )
        return nats, float((wrong_RP[:, VALUE:] == 0).mean())

    def _batches(self, rows: int) -> list[slice]:
        size = _LANES.get(self.device.type, 32)
        return [slice(start, start + size) for start in range(0, rows, size)]

    @torch.inference_mode()
    def _batch(
        self, model: LanguageModel, probes: Probes, at: slice, pieces: int
    ) -> tuple[npt.NDArray[np.number], ...]:
        """Nats [b, P] and wrong tokens [b, P] of each piece, and nats [b] of the first chunks."""
        if self.stopping():
            raise Interrupted
        tokens_bT, piece_bT = (
            probes.tokens_RT[at].astype(np.int64),
            probes.piece_RT[at].astype(np.int64),
        )
        row_Q, column_Q = np.nonzero(piece_bT)
        tokens = torch.from_numpy(tokens_bT).to(self.device)
        places = torch.from_numpy(row_Q).to(self.device), torch.from_numpy(column_Q).to(self.device)
        logits_QV = model.head(model.trunk(tokens[:, :-1])[places]).to(self._exact)
        labels_Q = tokens[:, 1:][places]
        nats_Q = F.cross_entropy(logits_QV, labels_Q, reduction="none").cpu().numpy()
        wrong_Q = (logits_QV.argmax(-1) != labels_Q).cpu().numpy()
        cell_Q, size = row_Q * pieces + piece_bT[row_Q, column_Q], len(tokens_bT) * pieces
        nats_bP, wrong_bP = (
            np.bincount(cell_Q, counts, size).reshape(-1, pieces) for counts in (nats_Q, wrong_Q)
        )
        first_Q = probes.first_RT[at][row_Q, column_Q]
        return nats_bP, wrong_bP, np.bincount(row_Q[first_Q], nats_Q[first_Q], len(tokens_bT))

    @cached_property
    def _sample(self) -> Probes:
        return self.data.probes(SAMPLE)

    @cached_property
    def _everyone(self) -> Probes:
        return self.data.probes()
