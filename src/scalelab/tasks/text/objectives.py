"""What of a window is shown and what is predicted.

Pure functions of the tokens, a seed and the windows' numbers.

B windows, T positions, S = T + 1 tokens of a window, M targets of a window, K counters of a window.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import Words, words
from scalelab.tasks.text.spec import Masked, Prefix, Text

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Examples:
    """Windows as a model sees them.

    The fields are those of `families.objective.Batch` and its layout, which say what they mean.
    """

    tokens_BT: Ids
    labels_BM: Ids
    targets_BM: npt.NDArray[np.int64] | None = None
    weights_BM: npt.NDArray[np.float32] | None = None
    prefix_B: npt.NDArray[np.int64] | None = None
    document_BT: npt.NDArray[np.int64] | None = None

    @property
    def targets(self) -> int:
        """How many predictions bear loss."""
        return self.labels_BM.size if self.weights_BM is None else int(self.weights_BM.sum())


class Alphabet(Protocol):
    """The tokens of a corpus; see `Manifest`."""

    @property
    def vocab(self) -> int:
        """How many there are, the end of a document counted in; under the masked objective the mask
        token is the next one.
        """
        ...

    @property
    def eos(self) -> int:
        """The end of a document."""
        ...


def targets(task: Text) -> int:
    """Most positions of a window that bear loss."""
    return (
        _hidden(task.objective, task.context)
        if isinstance(task.objective, Masked)
        else task.context
    )


def examples(task: Text, alphabet: Alphabet, windows_BS: Ids, window_B: Ids, seed: int) -> Examples:
    """The windows under the task's objective.

    What is drawn depends on `seed` and each window's number, not on its neighbours.
    """
    document_BT = documents(windows_BS[:, :-1], alphabet.eos) if task.documents == "apart" else None
    if isinstance(task.objective, Masked):
        return _masked(task.objective, alphabet, windows_BS[:, :-1], document_BT, window_B, seed)
    loss_BT = None if document_BT is None else windows_BS[:, :-1] != alphabet.eos
    prefix_B = None
    if isinstance(task.objective, Prefix):
        prefix_B = given(task.objective, task.context, window_B, seed)
        after_BT = np.arange(task.context) >= prefix_B[:, None] - 1
        loss_BT = after_BT if loss_BT is None else after_BT & loss_BT
    weights_BT = None if loss_BT is None else loss_BT.astype(np.float32)
    return Examples(windows_BS[:, :-1], windows_BS[:, 1:], None, weights_BT, prefix_B, document_BT)


def documents(tokens_BT: Ids, eos: int) -> npt.NDArray[np.int64]:
    """The document of each position, counted from 0 in its window.

    An end of document belongs to the document that it ends.

    Where documents stand apart the first token of one is not predicted: all that could tell it is
    hidden.
    """
    ends_BT = (tokens_BT == eos).astype(np.int64)
    return np.cumsum(ends_BT, axis=1) - ends_BT


def given(objective: Prefix, context: int, window_B: Ids, seed: int) -> npt.NDArray[np.int64]:
    """How many tokens of each window are given, [B]: uniform from 1 to the largest share.

    The first token always is.
    """
    most = max(1, int(objective.share * context))
    return (words(seed, "given", at=window_B) % np.uint64(most)).astype(np.int64) + 1


def alone(
    task: Text, alphabet: Alphabet, windows_BS: Ids, position_B: npt.NDArray[np.int64]
) -> Examples:
    """Windows of which the token at one position is hidden, and predicted."""
    tokens_BT, at_B1 = windows_BS[:, :-1], position_B[:, None]
    shown_BT = tokens_BT.copy()
    np.put_along_axis(shown_BT, at_B1, alphabet.vocab, axis=1)
    document_BT = documents(tokens_BT, alphabet.eos) if task.documents == "apart" else None
    return Examples(
        shown_BT, np.take_along_axis(tokens_BT, at_B1, axis=1), at_B1, document_BT=document_BT
    )


def _hidden(objective: Masked, context: int) -> int:
    return 1 if objective.one else max(1, round(objective.share * context))


def _masked(
    objective: Masked,
    alphabet: Alphabet,
    tokens_BT: Ids,
    document_BT: npt.NDArray[np.int64] | None,
    window_B: Ids,
    seed: int,
) -> Examples:
    """The same number of positions in every window, evenly drawn, and what stands there instead."""
    targets_BM = _drawn(tokens_BT.shape[1], _hidden(objective, tokens_BT.shape[1]), window_B, seed)
    labels_BM = np.take_along_axis(tokens_BT, targets_BM, axis=1)
    share_BM = (
        _counted(seed, "shown", window_B, targets_BM.shape[1]) >> np.uint64(11)
    ) * 2.0**-53  # below 1: no rounding up
    other_BM = (
        _counted(seed, "other", window_B, targets_BM.shape[1]) % np.uint64(alphabet.vocab)
    ).astype(tokens_BT.dtype)
    shown_BM = np.where(share_BM < objective.hide + objective.corrupt, other_BM, labels_BM)
    shown_BM = np.where(share_BM < objective.hide, alphabet.vocab, shown_BM).astype(tokens_BT.dtype)
    shown_BT = tokens_BT.copy()
    np.put_along_axis(shown_BT, targets_BM, shown_BM, axis=1)
    return Examples(shown_BT, labels_BM, targets_BM, document_BT=document_BT)


def _drawn(context: int, count: int, window_B: Ids, seed: int) -> npt.NDArray[np.int64]:
    """`count` positions of each window without repetition, ascending, [B, M]."""
    keys_BT = _counted(seed, "hidden", window_B, context)
    chosen_BM = np.argpartition(keys_BT, count - 1, axis=1)[:, :count]
    return np.sort(chosen_BM, axis=1).astype(np.int64)


def _counted(seed: int, name: str, window_B: Ids, count: int) -> Words:
    """A word for each of `count` counters of each window, [B, K]."""
    return words(seed, name, at=window_B.astype(np.int64)[:, None] * count + np.arange(count))
