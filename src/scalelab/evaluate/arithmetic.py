"""The arithmetic test: how often a model's answer is exact, by the length of what is asked.

R rows, B of them in a batch, T positions, S = T + 1 tokens, M targets of a row, V vocabulary.
"""

from collections.abc import Callable

import numpy as np
import torch

from scalelab.core.events import Interrupted
from scalelab.data import ArithmeticData, Sums
from scalelab.evaluate.bits import Scorer
from scalelab.evaluate.mode import evaluating
from scalelab.spec.experiment import Trial

SAMPLE = 128
"""Questions of each length that an evaluation during training asks."""

_LANES = {"cpu": 256, "cuda": 4096}


class ArithmeticTest:
    """Exact-match accuracy of a model, on one device. Raises Interrupted where `stopping()` turns true on the way.

    An answer counts where the likeliest token is right at each of its positions, its end included, with the right answer in front.
    That is when greedy decoding writes the right answer: as long as it is right it has the same text in front of it, and where it
    first goes wrong, so does the likeliest token here. One pass does for all positions.
    """

    def __init__(
        self, trial: Trial, data: ArithmeticData, device: torch.device | str = "cpu", stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self.trial, self.data, self.device, self.stopping = trial, data, torch.device(device), stopping

    def quick(self, model: Scorer) -> dict[str, float]:
        """`accuracy` while a model trains: the mean over the lengths that are trained on, of a sample of the questions."""
        return {"accuracy": self._mean(model, range(1, self.data.task.length + 1), SAMPLE)}

    def full(self, model: Scorer) -> dict[str, float]:
        """The final metrics of a model, from questions that it was not trained on.

        `accuracy_{n}`: share of the questions of length n that are answered exactly. `accuracy`: the mean over the lengths that are
        trained on. `accuracy_longer`: the mean over those that are not, where there are any.
        """
        task = self.data.task
        by_length = {length: self._mean(model, range(length, length + 1)) for length in range(1, task.longest + 1)}
        trained = [share for length, share in by_length.items() if length <= task.length]
        longer = [share for length, share in by_length.items() if length > task.length]
        return {
            "accuracy": float(np.mean(trained)),
            **{f"accuracy_{length}": share for length, share in by_length.items()},
            **({"accuracy_longer": float(np.mean(longer))} if longer else {}),
        }

    @torch.inference_mode()
    def _mean(self, model: Scorer, lengths: range, most: int | None = None) -> float:
        """Mean over the lengths of the share of at most `most` questions that are answered exactly."""
        shares: list[float] = []
        with evaluating(model), torch.autocast(self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"):
            for length in lengths:
                rows, right = self.data.questions(length), 0
                asked = len(rows.tokens_RS) if most is None else min(most, len(rows.tokens_RS))
                for start in range(0, asked, self._lanes):
                    if self.stopping():
                        raise Interrupted
                    right += self._right(model, rows, start, asked)
                shares.append(right / asked)
        return float(np.mean(shares))

    def _right(self, model: Scorer, rows: Sums, first: int, asked: int) -> int:
        """How many of the rows `first` to `asked`, as many as there are lanes, are answered exactly."""
        row_B = np.minimum(first + np.arange(self._lanes), asked - 1)  # the last batch is filled: one shape is compiled once
        tokens_BS = torch.from_numpy(rows.tokens_RS[row_B].astype(np.int64)).to(self.device)
        targets_BM = torch.from_numpy(rows.targets_RM[row_B]).to(self.device)
        padding_BM = torch.from_numpy(rows.weights_RM[row_B] == 0).to(self.device)
        x_BMD = model.trunk(tokens_BS[:, :-1], targets_BM[:, 0] + 1, targets_BM)
        right_BM = model.head(x_BMD).argmax(-1) == tokens_BS.gather(1, targets_BM + 1)
        return int((right_BM | padding_BM).all(1)[: asked - first].sum())

    @property
    def _lanes(self) -> int:
        return _LANES.get(self.device.type, 256)
