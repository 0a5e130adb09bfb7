"""The recall test: every fact is asked for with every template, and the answer must be the exact
value.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from scalelab.data import FactsData, Questions
from scalelab.data.database import Database
from scalelab.data.hashing import words
from scalelab.data.tokens import ASSISTANT, EOD, USER, Tokens, decode
from scalelab.evaluate.bits import Scorer, missing_bits
from scalelab.evaluate.mode import evaluating
from scalelab.generate import Decoder, greedy

SAMPLE = 256
"""Questions that an evaluation during training begins with."""

PROMISING = 0.8
"""Recall of the sample from which on every question is asked: an estimate decides on no early stop
at 95 %.
"""

PROBE = 1024
"""Most questions with permuted values, and about people never trained on: enough for a standard
error below 1.6 %.
"""

_LANES = {"cpu": 512, "cuda": 4096}


class Model(Decoder, Scorer, Protocol):
    """What the recall test asks of a model; see `models.Transformer`."""


class RecallTest:
    """Recall and bits of a model on one task, on one device.

    Raises Interrupted where `stopping()` turns true on the way.
    """

    def __init__(
        self,
        data: FactsData,
        device: torch.device | str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data, self.device, self.stopping = data, torch.device(device), stopping
        self._in_tool = data.task.recall == "in_tool"

    def quick(self, model: Model) -> dict[str, float]:
        """`recall` and `bits_per_fact` while a model trains: of a sample, and of every question
        where the sample is promising.
        """
        asked = _spread(len(self._seen.prompts), SAMPLE)
        with evaluating(model):
            recall = self._recall(model, self._seen, asked, self._database)
            if len(asked) < len(self._seen.prompts) and recall >= PROMISING:
                asked = np.arange(len(self._seen.prompts))
                recall = self._recall(model, self._seen, asked, self._database)
            return {"recall": recall, "bits_per_fact": self._bits_per_fact(model, asked)}

    def full(self, model: Model) -> dict[str, float]:
        """The final metrics of a model.

        `recall`: share of the questions that are answered exactly; `chance`: recall of a guess from
        the right pool. `bits`: bits of the values that the model tells, in all, a value that
        relatives have in common once (see `bits`); `bits_max`: bits that the data hold, which are
        those of a model that knows every answer; `bits_per_fact`: `bits` by the number of facts.
        In-weight they are what the weights hold, in-tool what is copied; they are zero for a guess
        from the right pools, and negative for a model that is worse. `recall_unseen`: recall on
        people never trained on. `recall_permuted` (in-tool): recall where the database gives people
        each other's values, of the facts that this changes: a model that uses its tool follows, one
        that knows by heart does not.
        """
        everything = np.arange(len(self._seen.prompts))
        with evaluating(model):
            recall = self._recall(model, self._seen, everything, self._database)
            bits = self._bits_per_fact(model, everything)
            probes = {f"recall_{name}": recall for name, recall in self._probes(model)}
        facts, held = self.data.shape.facts, self.data.fact_bits()[self._seen.fact]
        return {
            "recall": recall,
            "chance": self.data.chance(),
            "bits": bits * facts,
            "bits_max": float(held.mean()) * facts,
            "bits_per_fact": bits,
            **probes,
        }

    def _probes(self, model: Model) -> Iterator[tuple[str, float]]:
        unseen = self.data.questions("unseen")
        yield (
            "unseen",
            self._recall(model, unseen, _spread(len(unseen.prompts), PROBE), self._database),
        )
        permuted = self.data.questions("seen", "permuted") if self._in_tool else None
        # One person, or people who are all alike, have nothing to exchange.
        if permuted is not None and permuted.prompts:
            yield (
                "permuted",
                self._recall(
                    model,
                    permuted,
                    _spread(len(permuted.prompts), PROBE),
                    self.data.database("permuted"),
                ),
            )

    def _recall(
        self,
        model: Model,
        questions: Questions,
        asked: npt.NDArray[np.int64],
        database: Database | None,
    ) -> float:
        texts = greedy(
            model,
            [questions.prompts[index] for index in asked],
            limit=self.data.shape.context,
            reply=None
            if database is None
            else lambda queries: [database.query(query) for query in queries],
            device=self.device,
            lanes=_LANES.get(self.device.type, 512),
            stopping=self.stopping,
        )
        return float(
            np.mean(
                [
                    is_exact(text, questions.answers[index])
                    for text, index in zip(texts, asked, strict=True)
                ]
            )
        )

    def _bits_per_fact(self, model: Model, asked: npt.NDArray[np.int64]) -> float:
        fact = self._seen.fact[asked]
        return float(self.data.fact_bits()[fact].mean()) - missing_bits(
            model,
            self.data.rows(),
            asked,
            self.data.shares()[fact],
            self.device,
            stopping=self.stopping,
        )

    @cached_property
    def _seen(self) -> Questions:
        return self.data.questions("seen")

    @cached_property
    def _database(self) -> Database | None:
        return self.data.database("true") if self._in_tool else None


def is_exact(text: Tokens, answer: str) -> bool:
    """Whether a dialog ends, and its last turn ends in the value, as a word of its own, and a full
    stop.
    """
    if not len(text) or text[-1] != EOD:
        return False
    opens = np.flatnonzero(text[:-1] >= USER)
    if not len(opens):
        return decode(text[:-1]).endswith(f" {answer}.")
    return bool(text[opens[-1]] == ASSISTANT) and decode(text[opens[-1] + 1 : -1]).endswith(
        f" {answer}."
    )


def _spread(size: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the indices below `size`, always the same ones."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.argsort(words(0, "sample", at=np.arange(size)))[:most])
