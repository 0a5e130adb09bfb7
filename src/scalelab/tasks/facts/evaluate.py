"""The recall test: every fact is asked for with every template, and the answer must be the exact
value.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from scalelab.data.hashing import words
from scalelab.data.tokens import Tokens
from scalelab.evaluate.mode import evaluating
from scalelab.families.language_model import LanguageModel
from scalelab.generate import complete
from scalelab.tasks.facts.bits import missing_bits
from scalelab.tasks.facts.data import FactsData, Questions
from scalelab.tasks.facts.database import Database
from scalelab.tasks.facts.tokens import ASSISTANT, EOD, TURNS, USER, decode
from scalelab.tasks.facts.tool import database_tool
from scalelab.tasks.task import Test

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial

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

PROBED = 32
"""Of these, questions of each kind that an evaluation during training asks."""

_LANES = {"cpu": 512, "cuda": 4096}


class _Question(NamedTuple):
    prompt: Tokens
    answer: str
    database: Database | None
    """What the tool looks into; None in-weight."""


def open_test(
    trial: "Trial", data: FactsData, device: torch.device, stopping: Callable[[], bool]
) -> "RecallTest":
    """The test of a trial."""
    stop = trial.evaluation.stop
    watched = None if stop is None else stop.metric
    return RecallTest(data, device, stopping, trial.seed, watched)


class RecallTest(Test):
    """Recall and bits of a model on one task, on one device.

    `seed` chooses the questions of the probes during training; a `watched` probe, one that an early
    stop goes by, is then as large as at the end.

    Raises Interrupted where `stopping()` turns true on the way.
    """

    def __init__(
        self,
        data: FactsData,
        device: torch.device | str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
        seed: int = 0,
        watched: str | None = None,
    ) -> None:
        self.data, self.device, self.stopping = data, torch.device(device), stopping
        self.seed, self.watched = seed, watched
        self._in_tool = data.task.recall == "in_tool"

    def quick(self, model: LanguageModel) -> dict[str, float]:
        """The metrics while a model trains.

        `recall` and `bits_per_fact`: of a sample, and of every question where the sample is
        promising. `recall_unseen` and `recall_permuted`: estimates of what `full` says, from the
        same `PROBED` questions at every evaluation.
        """
        asked = _spread(len(self._seen.prompts), SAMPLE)
        with evaluating(model):
            # All samples at once: a small batch takes as many steps as a large one.
            samples = self._samples
            exact = iter(self._exact(model, list(chain.from_iterable(samples.values()))))
            recalls = {
                name: float(np.mean([next(exact) for _ in questions]))
                for name, questions in samples.items()
            }
            if len(asked) < len(self._seen.prompts) and recalls["recall"] >= PROMISING:
                asked = np.arange(len(self._seen.prompts))
                recalls["recall"] = self._recall(model, self._seen, asked, self._database)
            return {**recalls, "bits_per_fact": self._bits_per_fact(model, asked)}

    def full(self, model: LanguageModel) -> dict[str, float]:
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
            probes = {
                name: self._recall(
                    model,
                    questions,
                    _spread(len(questions.prompts), PROBE),
                    self._database_of(name),
                )
                for name, questions in self._probed.items()
            }
        facts, held = self.data.shape.facts, self.data.fact_bits()[self._seen.fact]
        return {
            "recall": recall,
            "chance": self.data.chance(),
            "bits": bits * facts,
            "bits_max": float(held.mean()) * facts,
            "bits_per_fact": bits,
            **probes,
        }

    def _recall(
        self,
        model: LanguageModel,
        questions: Questions,
        asked: npt.NDArray[np.int64],
        database: Database | None,
    ) -> float:
        return float(np.mean(self._exact(model, _questions(questions, asked, database))))

    def _exact(self, model: LanguageModel, asked: Sequence[_Question]) -> list[bool]:
        """Which of the questions the model answers exactly."""

        def query(text: str, index: int) -> str:
            database = asked[index].database
            return "" if database is None else database.query(text)

        texts = complete(
            model,
            [question.prompt for question in asked],
            room=self.data.shape.context,
            ends=TURNS,
            tool=database_tool(query) if self._in_tool else None,
            device=self.device,
            lanes=_LANES.get(self.device.type, 512),
            stopping=self.stopping,
        )
        return [
            is_exact(text, question.answer) for text, question in zip(texts, asked, strict=True)
        ]

    def _bits_per_fact(self, model: LanguageModel, asked: npt.NDArray[np.int64]) -> float:
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
    def _probed(self) -> dict[str, Questions]:
        """Metric -> its questions."""
        found = {"recall_unseen": self.data.questions("unseen")}
        permuted = self.data.questions("seen", "permuted") if self._in_tool else None
        # One person, or people who are all alike, have nothing to exchange.
        if permuted is not None and permuted.prompts:
            found["recall_permuted"] = permuted
        return found

    @cached_property
    def _samples(self) -> dict[str, list[_Question]]:
        """Metric -> its sample."""
        asked = _spread(len(self._seen.prompts), SAMPLE)
        found = {"recall": _questions(self._seen, asked, self._database)}
        for name, questions in self._probed.items():
            size = len(questions.prompts)
            watched = name == self.watched
            asked = _spread(size, PROBE) if watched else _spread(size, PROBED, self.seed)
            found[name] = _questions(questions, asked, self._database_of(name))
        return found

    def _database_of(self, probe: str) -> Database | None:
        return self._permuted if probe == "recall_permuted" else self._database

    @cached_property
    def _database(self) -> Database | None:
        return self.data.database("true") if self._in_tool else None

    @cached_property
    def _permuted(self) -> Database | None:
        return self.data.database("permuted") if self._in_tool else None


def _questions(
    of: Questions, asked: npt.NDArray[np.int64], database: Database | None
) -> list[_Question]:
    return [_Question(of.prompts[index], of.answers[index], database) for index in asked]


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


def _spread(size: int, most: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """At most `most` of the indices below `size`, always the same ones under a seed."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.argsort(words(seed, "sample", at=np.arange(size)))[:most])
