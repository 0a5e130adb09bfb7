"""Prompts of running text."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from scalelab.data.hashing import words
from scalelab.generate.vocabulary import Documents, Vocabulary
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.spec import Masked


def vocabulary(data: TextData) -> Vocabulary:
    """Running text, with gaps under the masked objective."""
    objective = data.task.objective
    return Gapped(data, objective) if isinstance(objective, Masked) else Documents(data.tokenizer)


class Gapped(Documents):
    """Running text with gaps of a token each, which a prompt writes as `[MASK]`."""

    MASK = "[MASK]"
    EXAMPLE = 120
    """Most tokens of an example."""

    def __init__(self, data: TextData, objective: Masked) -> None:
        super().__init__(data.tokenizer)
        self.mask, self._data, self._share = data.manifest.vocab, data, objective.share

    @property
    def gap(self) -> int:
        """The mask token."""
        return self.mask

    def encode(self, prompt: str) -> list[int]:
        """A prompt without a gap gets the share of them that is trained on, always at the same
        places.
        """
        first, *rest = prompt.split(self.MASK)
        ids = [int(token) for token in self.tokenizer.encode(first)]
        for part in rest:
            ids += [self.mask, *map(int, self.tokenizer.encode(part))]
        if not rest:
            order = np.argsort(words(0, "gaps", at=np.arange(len(ids))))
            for at in order[: max(1, round(self._share * len(ids)))]:
                ids[at] = self.mask
        return ids or [self.mask]

    def decode(self, ids: Sequence[int]) -> str:
        parts = groupby(ids, lambda token: token == self.mask)
        return "".join(
            self.MASK * len(list(some)) if is_gap else self.tokenizer.decode(some)
            for is_gap, some in parts
        )

    def example(self) -> str:
        """The beginning of the test split; half of the context, as it may be tokenised anew."""
        [window] = self._data.held_out("test", 1).tolist()
        shown = window[: min(self.EXAMPLE, max(1, self._data.shape.context // 2))]
        text = self.tokenizer.decode(token for token in shown if token not in self.ends)
        return text.strip("\N{REPLACEMENT CHARACTER}")
