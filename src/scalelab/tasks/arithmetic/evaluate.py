"""The arithmetic test: how often a model's answer is exact, by the length of what is asked, and its
loss.

R rows, B of them in a batch, T positions, S = T + 1 tokens, M targets of a row, D width, V
vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.evaluate.excerpt import QUESTIONS, excerpt, texts_of
from scalelab.evaluate.mode import evaluating
from scalelab.evaluate.routes import Tally, routes
from scalelab.evaluate.token_kinds import kinds
from scalelab.families.cost import forward_flops
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.tasks.arithmetic.data import ArithmeticData, Sums
from scalelab.tasks.arithmetic.numbers import Ids
from scalelab.tasks.task import Test

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial

SAMPLE = 128
"""Questions of each length that an evaluation during training asks."""

_LANES = {"cpu": 256, "cuda": 4096}


@dataclass(frozen=True)
class _Seen:
    """Some questions with their answers, on the device."""

    tokens_BS: Tensor
    targets_BM: Tensor
    bears_BM: Tensor
    """False where a row of targets is filled up."""

    @property
    def tokens_BT(self) -> Tensor:
        """What the model reads."""
        return self.tokens_BS[:, :-1]

    @property
    def layout(self) -> Layout:
        """The prefix is the question with its `=`; windows are filled up behind the answer."""
        first_B, last_B = self.targets_BM[:, 0], self.targets_BM.amax(1)
        return Layout(self.targets_BM, prefix_B=first_B + 1, length_B=last_B + 1)

    @property
    def real_BT(self) -> Tensor | None:
        """False behind the answer."""
        return self.layout.real(self.tokens_BT.shape[1])


@dataclass(frozen=True)
class _Score:
    """What became of the questions of one length."""

    right: float
    """Share that was answered exactly."""
    questions: int
    """How many questions of this length there are, asked or not."""
    nats: Sequence[float]
    """Mean nats of an answer's token; where the routes are counted, then those after each step."""


def open_test(
    trial: "Trial", data: ArithmeticData, device: torch.device, stopping: Callable[[], bool]
) -> "ArithmeticTest":
    """The test of a trial."""
    return ArithmeticTest(trial, data, device, stopping)


class ArithmeticTest(Test):
    """Exact-match accuracy and loss of a model, on one device.

    Raises Interrupted where `stopping()` turns true on the way.

    An answer counts where the likeliest token is right at each of its positions, its end included,
    with the right answer in front. That is when greedy decoding writes the right answer: as long as
    it is right it has the same text in front of it, and where it first goes wrong, so does the
    likeliest token here. One pass does for all positions.
    """

    def __init__(
        self,
        trial: "Trial",
        data: ArithmeticData,
        device: torch.device | str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.trial, self.data, self.device, self.stopping = (
            trial,
            data,
            torch.device(device),
            stopping,
        )
        self._exact = torch.float32 if self.device.type == "mps" else torch.float64

    def quick(self, model: LanguageModel) -> dict[str, float]:
        """`accuracy`, `accuracy_questions` and `validation_loss` while a model trains: those of
        `full`, estimated from a sample of the questions of each length.
        """
        return _means(
            [self._score(model, length, SAMPLE) for length in range(1, self.data.task.length + 1)]
        )

    def full(self, model: LanguageModel) -> dict[str, float]:
        """The final metrics of a model, from questions that it was not trained on.

        `accuracy_{n}`: share of the questions of length n that are answered exactly. `accuracy` and
        `validation_loss`: means over the lengths that are trained on, of these shares and of the
        mean nats of an answer's token, its end counted in: a length counts as much as another one,
        though of length 1 there are only 10 to 30 questions and of any other 500.
        `accuracy_questions`: share of all questions of these lengths, where a question counts as
        much as another one. `accuracy_longer`: the mean share over the other lengths, where there
        are any; each has 500 questions, so that it is that of the questions too.
        `flops_per_token`: forward FLOPs by positions; of a
        router over layers those that were run, with its routes over all questions (see
        `routes.Tally`; what fills a window is left out of them), and `loss_step_{step}`: the
        validation loss, were it predicted after that step.
        """
        task, pool, tally = self.data.task, self.trial.model.layer_pool, None
        if pool is not None:
            kind_V = kinds(self.data.tokenizer, self.data.shape.vocab)
            tally = Tally(pool, kind_V, self._exact)
        scores = [self._score(model, length, tally=tally) for length in range(1, task.longest + 1)]
        longer = [score.right for score in scores[task.length :]]
        return {
            **_means(scores[: task.length]),
            **{f"accuracy_{length}": score.right for length, score in enumerate(scores, 1)},
            **({"accuracy_longer": float(np.mean(longer))} if longer else {}),
            **(self._flops() if tally is None else tally.values()),
        }

    def notes(self, model: LanguageModel) -> dict[str, str]:
        """Texts about a model that stay with its trial, as `data:` URLs: of a router over layers
        some questions of every length with the routes of their tokens, `routes`.
        """
        pool, longest = self.trial.model.layer_pool, self.data.task.longest
        if pool is None:
            return {}
        tokens, found, each = list[list[int]](), list[Ids](), max(1, QUESTIONS // longest)
        for rows in map(self.data.questions, range(1, longest + 1)):
            seen = self._seen(rows, np.arange(min(each, len(rows.tokens_RS))))
            with self._evaluating(model):
                output = model.run_steps(seen.tokens_BT, seen.layout)
            found.append(routes(output, seen.tokens_BT.shape))
            ends = (seen.targets_BM.amax(1) + 1).tolist()
            tokens += [row[:end] for row, end in zip(seen.tokens_BS.tolist(), ends, strict=True)]
        return {
            "routes": excerpt(pool, texts_of(self.data.tokenizer, tokens), np.concatenate(found))
        }

    def _score(
        self, model: LanguageModel, length: int, most: int | None = None, tally: Tally | None = None
    ) -> _Score:
        """At most `most` questions of a length; a tally counts their routes in."""
        rows, right, nats = self.data.questions(length), 0, np.zeros(1)
        asked = len(rows.tokens_RS) if most is None else min(most, len(rows.tokens_RS))
        with self._evaluating(model):
            for start in range(0, asked, self._lanes):
                if self.stopping():
                    raise Interrupted
                row_B = start + np.arange(self._lanes)
                # The last batch is filled, so that one shape is compiled once; but not where the
                # routes of what fills it would be counted.
                seen = self._seen(
                    rows, np.minimum(row_B, asked - 1) if tally is None else row_B[row_B < asked]
                )
                answered, lost = self._sums(model, seen, asked - start, tally)
                right, nats = right + answered, nats + lost
        return _Score(
            right / asked,
            len(rows.tokens_RS),
            (nats / rows.weights_RM[:asked].sum(dtype=np.float64)).tolist(),
        )

    def _sums(
        self, model: LanguageModel, seen: _Seen, real: int, tally: Tally | None
    ) -> tuple[int, npt.NDArray[np.floating]]:
        """How many of the first `real` rows are answered exactly, and the nats of their answers,
        once or also after each step.
        """
        if tally is None:
            features = [model.trunk(seen.tokens_BT, seen.layout)]
        else:
            output = model.run_steps(seen.tokens_BT, seen.layout, each_step=True)
            tally.add(output, seen.tokens_BT, seen.real_BT)
            features = [output.final_BMD, *output.each_step]
        label_BM = seen.tokens_BS.gather(1, seen.targets_BM + 1)
        scored = [
            self._of_answers(model.head(x_BMD), label_BM, seen.bears_BM, real) for x_BMD in features
        ]
        return int(scored[0][0]), torch.stack([nats for _, nats in scored]).cpu().numpy()

    def _of_answers(
        self, logits_BMV: Tensor, label_BM: Tensor, bears_BM: Tensor, real: int
    ) -> tuple[Tensor, Tensor]:
        """Exact answers among the first `real` rows, and their nats, as scalars."""
        right_B = ((logits_BMV.argmax(-1) == label_BM) | ~bears_BM).all(1)
        logits_BMV = logits_BMV.to(torch.promote_types(logits_BMV.dtype, torch.float32))
        nats_BM = F.cross_entropy(
            logits_BMV.flatten(0, 1), label_BM.flatten(), reduction="none"
        ).view_as(label_BM)
        return right_B[:real].sum(), nats_BM.where(bears_BM, 0.0)[:real].sum(dtype=self._exact)

    def _seen(self, rows: Sums, row_B: Ids) -> _Seen:
        parts = (
            rows.tokens_RS[row_B].astype(np.int64),
            rows.targets_RM[row_B],
            rows.weights_RM[row_B] > 0,
        )
        tokens_BS, targets_BM, bears_BM = (torch.from_numpy(part).to(self.device) for part in parts)
        return _Seen(tokens_BS, targets_BM, bears_BM)

    def _flops(self) -> dict[str, float]:
        shape, targets = self.data.shape, self.data.questions(1).targets_RM.shape[1]
        return {
            "flops_per_token": forward_flops(self.trial.model, shape.vocab, shape.context, targets)
            / shape.context
        }

    @contextmanager
    def _evaluating(self, model: LanguageModel) -> Iterator[None]:
        precision = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"
        )
        with evaluating(model), torch.inference_mode(), precision:
            yield

    @property
    def _lanes(self) -> int:
        return _LANES.get(self.device.type, 256)


def _means(scores: Sequence[_Score]) -> dict[str, float]:
    """Over the lengths, and the share of all their questions."""
    after = {
        f"loss_step_{step}": float(np.mean([score.nats[step] for score in scores]))
        for step in range(1, len(scores[0].nats))
    }
    right, nats = (
        float(np.mean(found))
        for found in zip(*((score.right, score.nats[0]) for score in scores), strict=True)
    )
    total = sum(score.questions for score in scores)
    by_question = sum(score.questions * score.right for score in scores) / total
    return {
        "accuracy": right,
        "accuracy_questions": by_question,
        "validation_loss": nats,
        **after,
    }
