"""The arithmetic task: sums as bytes, an end, and what is held out for the test.

A row is `12+7=19` and the end token, which also fills the rest of the window; the loss falls on the
answer and the one end behind it. One problem in ten is never trained on, whichever way round its
two numbers stand, and the test asks those: it depends on the task's `world` and the problem alone,
so that a longer training asks the same. Of the few problems of length 1 it is a tenth exactly.
Lengths beyond `length` are tested and never trained on.

R rows, S tokens of a window, M targets of a row, P characters of a question.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import UserError
from scalelab.core.seeds import derive
from scalelab.data.hashing import Words, mix, words
from scalelab.data.text.tokenizers.bytes import Bytes
from scalelab.data.tokens import Tokens
from scalelab.tasks.arithmetic.numbers import MOST, Ids
from scalelab.tasks.arithmetic.problems import Problems, operation, write
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.task import TaskShape

END, VOCAB = Bytes.eos, Bytes.vocab

ASKED = 500
"""Most questions of a length."""

SHOWN = 2
"""Questions of each length in a sample."""

_TENTH = 10
_DRAWN = 1 << 14
"""Problems among which the held-out ones are asked: a tenth of them, of which no more than half
come twice.
"""


@dataclass(frozen=True)
class Sums:
    """Problems with their answers, as a model sees them."""

    tokens_RS: Tokens
    """Question, answer, and ends."""
    targets_RM: Ids
    """Positions whose next token bears loss: from `=` to the answer's last digit. Padded with 0."""
    weights_RM: npt.NDArray[np.float32]
    """1 where `targets_RM` is a loss position, 0 where it is padding."""

    def texts(self) -> list[str]:
        """Each row as it is written, without its ends."""
        return [Bytes().decode(row) for row in self.tokens_RS]


def describe(task: Arithmetic, folder: str = "") -> TaskShape:
    """The sizes of an arithmetic task; cached.

    A pass is as many sequences as there are problems that may be trained on.

    Raises UserError if `task.context` is shorter than the longest problem, or a setting can't be.
    """
    return _describe(task)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


@lru_cache(maxsize=1024)
def _describe(task: Arithmetic) -> TaskShape:
    if task.longest > MOST:
        raise UserError(f"a `longest` of {task.longest} is too long", cure=f"take at most {MOST}")
    if task.reversed and task.operation == "chain":
        raise UserError(
            "the answer of a chain is one digit, which can't be reversed",
            cure="leave `task.reversed` out",
        )
    asked = operation(task)
    window = asked.window(task.longest)
    if task.context is not None and task.context < window:
        what = f"a context of {task.context} tokens cuts the longest problem"
        raise UserError(what, cure=f"take `task.context: {window}` or more, or leave it out")
    some = _problems(task, np.arange(4096), 0)
    return TaskShape(
        vocab=VOCAB,
        context=(task.context or window) - 1,
        facts=0,
        sequences=float(asked.count(task.length)) * (1 - 1 / _TENTH),
        targets=asked.answer(task.length) + 1,
        mean_tokens=float((some.length_R + some.digits_R).mean()),
        used=len("0123456789=") + 1 + (3 if task.operation == "chain" else 1),
    )


class ArithmeticData:
    """The data of one task. Raises UserError as `describe` does."""

    def __init__(self, task: Arithmetic) -> None:
        self.task = task
        self.shape = describe(task)
        self.tokenizer = Bytes()

    def stream(self, seed: int, batch: int) -> "Stream":
        """The problems of training under a seed."""
        return Stream(self.task, seed, batch)

    def questions(self, length: int) -> Sums:
        """Problems of one length that are never trained on, at most `ASKED`; the same for every
        task of this operation and world.
        """
        return _questions(self.task, length)  # pyright: ignore[reportArgumentType]

    def questions_with_answers(self) -> list[tuple[str, str]]:
        """Some of each length, from the shortest to the longest that is tested."""
        found: list[tuple[str, str]] = []
        for length in range(1, self.task.longest + 1):
            for text in self.questions(length).texts()[:SHOWN]:
                question, sign, answer = text.partition("=")
                found.append((question + sign, answer))
        return found


def build(task: Arithmetic, folder: str) -> ArithmeticData:
    """The data of a task; nothing is read from a folder."""
    return ArithmeticData(task)


class Stream:
    """Problems for each update, of lengths drawn evenly: a pure function of the seed and the
    update's number.
    """

    def __init__(self, task: Arithmetic, seed: int, batch: int) -> None:
        self._task, self._seed, self._batch = task, derive(seed, "arithmetic"), batch
        self._window, self._targets = describe(task).context + 1, describe(task).targets

    def at(self, step: int) -> Sums:
        """The problems of update number `step` (from 0); R is the batch."""
        problem_R = np.arange(step * self._batch, (step + 1) * self._batch)
        return _written(
            _problems(self._task, problem_R, self._seed),
            self._window,
            self._targets,
            self._task.reversed,
        )


def _problems(task: Arithmetic, problem_R: Ids, seed: int) -> Problems:
    """Problems that may be trained on.

    One that is held out is drawn again, with the same length.
    """
    length_R = 1 + (words(seed, "length", at=problem_R) % np.uint64(task.length)).astype(np.int64)
    asked, again = operation(task), 0
    found = asked.drawn(length_R, problem_R, task.length, seed, again)
    wrong_W = np.flatnonzero(_held_out(task, found.key_R, length_R))
    while len(wrong_W):
        again += 1
        others = asked.drawn(length_R[wrong_W], problem_R[wrong_W], task.length, seed, again)
        found.replaced(wrong_W, others)
        wrong_W = wrong_W[_held_out(task, others.key_R, length_R[wrong_W])]
    return found


@lru_cache(maxsize=256)
def _questions(task: Arithmetic, length: int) -> Sums:
    lengths_R = np.full(_DRAWN, length)
    found = operation(task).drawn(
        lengths_R, np.arange(_DRAWN), length, derive(task.world, "arithmetic", "questions", length)
    )
    shape, digits = describe(task), operation(task).answer(task.longest)
    rows = _written(found, shape.context + 1, digits + 1, task.reversed)
    held_H = np.flatnonzero(_held_out(task, found.key_R, lengths_R))
    _, first = np.unique(rows.tokens_RS[held_H], axis=0, return_index=True)
    kept = held_H[np.sort(first)[:ASKED]]
    return Sums(rows.tokens_RS[kept], rows.targets_RM[kept], rows.weights_RM[kept])


def _held_out(task: Arithmetic, key_R: Words, length_R: Ids) -> npt.NDArray[np.bool_]:
    """Whether problems are for the test alone."""
    place_R = mix(key_R ^ np.uint64(derive(task.world, "arithmetic", "test")))
    shortest = _tenth_of_the_shortest(task)  # pyright: ignore[reportArgumentType]
    return place_R <= np.where(length_R == 1, shortest, np.uint64(2**64 // _TENTH))


@lru_cache(maxsize=256)
def _tenth_of_the_shortest(task: Arithmetic) -> np.uint64:
    """The place below which a tenth of the problems of length 1 lie: so few that a chance of one in
    ten might leave none.
    """
    key_K = np.unique(operation(task).shortest().key_R)
    place_K = np.sort(mix(key_K ^ np.uint64(derive(task.world, "arithmetic", "test"))))
    return place_K[-(-len(place_K) // _TENTH) - 1]


def _written(found: Problems, window: int, targets: int, reversed: bool) -> Sums:
    """Problems as rows of `window` tokens with `targets` places for positions that bear loss."""
    tokens_RS, width = (
        np.full((len(found.length_R), window), END, np.uint16),
        found.question_RP.shape[1],
    )
    inside_RP = np.arange(width) < found.length_R[:, None]
    tokens_RS[:, :width][inside_RP] = found.question_RP[inside_RP]
    write(tokens_RS, found.answer_RA, found.digits_R, found.length_R, reversed=reversed)
    real_RM = np.arange(targets) <= found.digits_R[:, None]
    targets_RM = np.where(real_RM, found.length_R[:, None] - 1 + np.arange(targets), 0)
    return Sums(tokens_RS, targets_RM, real_RM.astype(np.float32))
