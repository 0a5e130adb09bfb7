"""Where batches come from: a table of every dialog on the device, windows cut from a stream of
text, or problems.

Shapes: B sequences of an update, b of them in a micro-batch, T positions, S = T + 1 tokens, M
targets in a row, R rows of the table.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scalelab.core.seeds import derive
from scalelab.data import ArithmeticData, BiographyData, Data, FactsData, TextData
from scalelab.data.text.objectives import examples
from scalelab.evaluate.device import put
from scalelab.families.objective import Batch
from scalelab.spec.experiment import Trial


class Source(Protocol):
    """The batches of a trial: a pure function of the update's number, so that a resumed run needs
    no state.
    """

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """Targets of update number `step` (from 0), as a number on the device, and its sequences,
        `size` of them at a time.
        """
        ...


def open_source(trial: Trial, data: Data, device: torch.device) -> Source:
    """The source of a trial's batches."""
    if isinstance(data, FactsData):
        return Table(trial, data, device)
    if isinstance(data, BiographyData):
        return Windows(trial, data, device)
    return (
        Problems(trial, data, device)
        if isinstance(data, ArithmeticData)
        else Passages(trial, data, device)
    )


class Table:
    """Every dialog lies on the device once, and an update picks its rows."""

    def __init__(self, trial: Trial, data: FactsData, device: torch.device) -> None:
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
        """See `Source`. Each fact is shown once in every pass."""
        rows_B = torch.from_numpy(self._order.rows(step)).to(self._device)
        return self._weights_RM[rows_B].sum(), (self._pick(rows_b) for rows_b in rows_B.split(size))

    def _pick(self, rows_b: Tensor) -> Batch:
        return Batch(
            tokens_BT=self._tokens_RT[rows_b].long(),
            labels_BM=self._labels_RM[rows_b].long(),
            targets_BM=self._targets_RM[rows_b],
            weights_BM=self._weights_RM[rows_b],
            given_B=self._given_R[rows_b],
        )


class Windows:
    """Windows of running text: every token but the first is predicted from those before it."""

    def __init__(self, trial: Trial, data: BiographyData, device: torch.device) -> None:
        self._stream, self._device = data.stream(derive(trial.seed, "order"), trial.batch), device

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Source`."""
        tokens_BS = torch.from_numpy(self._stream.at(step).astype("int64")).to(self._device)
        targets = torch.tensor(float(tokens_BS[:, 1:].numel()), device=self._device)
        return targets, (
            Batch(tokens_bS[:, :-1], tokens_bS[:, 1:]) for tokens_bS in tokens_BS.split(size)
        )


class Passages:
    """Windows of a corpus, under the objective of its task.

    Where every position bears loss no targets are listed.
    """

    def __init__(self, trial: Trial, data: TextData, device: torch.device) -> None:
        self._data, self._batch, self._device = data, trial.batch, device
        self._stream, self._seed = (
            data.stream(derive(trial.seed, "order"), trial.batch),
            derive(trial.seed, "objective"),
        )

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Source`.

        What is given or hidden is drawn anew for every window of the training, whichever
        micro-batch it is in.
        """
        window_B = np.arange(step * self._batch, (step + 1) * self._batch)
        seen = examples(
            self._data.task, self._data.manifest, self._stream.at(step), window_B, self._seed
        )
        batch = Batch(**put(seen, self._device))
        return torch.tensor(float(seen.targets), device=self._device), _parts(batch, size)


class Problems:
    """Arithmetic: the loss falls on answers alone, and a prefix mask gives what stands
    before them.
    """

    def __init__(self, trial: Trial, data: ArithmeticData, device: torch.device) -> None:
        self._stream, self._device = data.stream(derive(trial.seed, "order"), trial.batch), device

    def draw(self, step: int, size: int) -> tuple[Tensor, Iterator[Batch]]:
        """See `Source`."""
        rows = self._stream.at(step)
        tokens_BS = torch.from_numpy(rows.tokens_RS.astype(np.int64))
        targets_BM, weights_BM = (
            torch.from_numpy(rows.targets_RM),
            torch.from_numpy(rows.weights_RM),
        )
        labels_BM = tokens_BS.gather(1, targets_BM + 1)
        parts = (tokens_BS[:, :-1], labels_BM, targets_BM, weights_BM, targets_BM[:, 0] + 1)
        return weights_BM.sum().to(self._device), _parts(
            Batch(*(part.to(self._device) for part in parts)), size
        )


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch's sequences, `size` of them at a time."""
    for start in range(0, len(batch.tokens_BT), size):
        part: dict[str, Any] = {
            name: None if part is None else part[start : start + size]
            for name, part in vars(batch).items()
        }
        yield Batch(**part)
