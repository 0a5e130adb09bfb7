"""The biography task: people's biographies packed into windows, and what the bits that a model has
learned are measured on.

R people who are probed, T tokens of the longest probe.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scalelab.data.tokens import Tokens
from scalelab.tasks.biography.sizes import BitPools, complexity, is_marked, shape, written_by
from scalelab.tasks.biography.spec import Biography
from scalelab.tasks.biography.stream import Stream
from scalelab.tasks.task import TaskShape


@dataclass(frozen=True)
class Probes:
    """One biography of each person, from EOS on, with what the next token is at each position."""

    tokens_RT: Tokens
    """EOS (and the domain token, where the task has one) and the biography, padded with EOS."""
    piece_RT: npt.NDArray[np.int8]
    """What token t + 1 is, [R, T - 1]: 0 other or padding, 1 name, 2 + a value of attribute a, in
    the order of `BitPools.value_bits`.
    """
    first_RT: npt.NDArray[np.bool_]
    """True where token t + 1 is of the first chunk of a value, [R, T - 1]."""
    length_R: npt.NDArray[np.int64]
    """Tokens without padding."""


class BiographyData:
    """The data of one task.

    Raises UserError if `task.context` does not hold a biography, or if there are too few names.
    """

    def __init__(self, task: Biography) -> None:
        self.task = task
        self.shape = shape(task)
        self.tokenizer = written_by(task).tokenizer

    def stream(self, seed: int, batch: int) -> Stream:
        """The windows of training under a seed."""
        return Stream(self.task, seed, batch)

    def complexity(self) -> BitPools:
        """The constants that bits are counted from."""
        return complexity(self.task)

    def probes(self, limit: int | None = None) -> Probes:
        """A biography of each of the first `limit` people, or of all; always the same ones.

        Its employer stands before the city of work, which would tell it. In bioS_simple it is the
        one that is trained on.
        """
        writer, people = (
            written_by(self.task),
            np.arange(min(limit or self.task.people, self.task.people)),
        )
        written = writer.written(people, writer.once(people), is_marked(self.task))
        inside_RT = np.arange(written.lengths_E.max()) < written.lengths_E[:, None]
        tokens_RT = np.full(inside_RT.shape, self.tokenizer.eos, np.uint16)
        piece_RT, first_RT = np.zeros(inside_RT.shape, np.int8), np.zeros(inside_RT.shape, np.bool_)
        tokens_RT[inside_RT], piece_RT[inside_RT], first_RT[inside_RT] = (
            written.tokens_M,
            written.pieces_M,
            written.first_M,
        )
        return Probes(tokens_RT, piece_RT[:, 1:], first_RT[:, 1:], written.lengths_E)

    def questions_with_answers(self) -> list[tuple[str, str]]:
        """None: a biography is not a question."""
        return []


def describe(task: Biography, folder: str) -> TaskShape:
    """The sizes of a task; nothing is read from a folder."""
    return shape(task)


def build(task: Biography, folder: str) -> BiographyData:
    """The data of a task; nothing is read from a folder."""
    return BiographyData(task)
