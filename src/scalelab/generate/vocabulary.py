"""What a trial's tokens say: from a prompt to tokens, from tokens to text, and which tokens end a
text.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np

from scalelab.core.errors import UserError
from scalelab.data import ArithmeticData, BiographyData, Data, FactsData, TextData
from scalelab.data.biography.sizes import is_marked
from scalelab.data.hashing import words
from scalelab.data.tokens import ASSISTANT, DATABASE, EOD, USER, encode
from scalelab.spec.text import Masked, Text


class Vocabulary(Protocol):
    """Tokens of one task."""

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        ...

    def encode(self, prompt: str) -> list[int]:
        """A prompt as the task writes it; never empty. Raises UserError for what has no tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        ...

    def example(self) -> str:
        """A prompt for who gives none."""
        ...

    def reply(self, ids: Sequence[int]) -> list[int]:
        """Tokens that are fed after a text, such as a tool's answer; mostly none."""
        ...


class Tokenizer(Protocol):
    """See `data.text.tokenizers`."""

    @property
    def eos(self) -> int:
        """The end of a document."""
        ...

    def encode(self, text: str, /) -> Iterable[int]:
        """Tokens of a text."""
        ...

    def decode(self, ids: Iterable[int], /) -> str:
        """The text of tokens."""
        ...


class Documents:
    """Running text. A text without a prompt begins where documents do, after an end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.ends = tokenizer, frozenset([tokenizer.eos])

    def encode(self, prompt: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(prompt)] or [self.tokenizer.eos]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def example(self) -> str:
        return ""

    def reply(self, ids: Sequence[int]) -> list[int]:
        return []


class Gapped(Documents):
    """Running text with gaps of a token each, which a prompt writes as `[MASK]`."""

    MASK = "[MASK]"
    EXAMPLE = 120
    """Most tokens of an example."""

    def __init__(self, data: TextData, objective: Masked) -> None:
        super().__init__(data.tokenizer)
        self.mask, self._data, self._share = data.manifest.vocab, data, objective.share

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


class Biographies(Documents):
    """Biographies, each behind its marks."""

    def __init__(self, data: BiographyData) -> None:
        super().__init__(data.tokenizer)
        self._opening = [
            data.tokenizer.eos,
            *([data.tokenizer.domain] if is_marked(data.task) else []),
        ]

    def encode(self, prompt: str) -> list[int]:
        try:
            return [*self._opening, *self.tokenizer.encode(prompt)]
        except KeyError as unknown:
            raise UserError(
                f"the biographies have no word `{unknown.args[0]}`",
                cure="take names and words out of their text",
            ) from None


class Sums(Documents):
    """Arithmetic. What is asked for ends in `=`."""

    def __init__(self, data: ArithmeticData) -> None:
        super().__init__(data.tokenizer)
        self._data = data

    def example(self) -> str:
        return self._data.questions(self._data.task.length).texts()[0].partition("=")[0] + "="


_MARKS = {USER: "[user] ", ASSISTANT: "\n[assistant] ", DATABASE: "\n[database] ", EOD: ""}


class Dialogs:
    """Questions about people; in-tool, the task's database answers the model's queries."""

    def __init__(self, data: FactsData) -> None:
        self._data = data
        self._database = data.database() if data.task.recall == "in_tool" else None
        self.ends = frozenset(
            [USER, ASSISTANT, EOD] if self._database else [USER, ASSISTANT, DATABASE, EOD]
        )

    def encode(self, prompt: str) -> list[int]:
        return [USER, *encode(prompt).tolist(), ASSISTANT]

    def decode(self, ids: Sequence[int]) -> str:
        parts = groupby(ids, lambda token: _MARKS.get(token))
        return "".join(
            mark * len(list(some)) if mark is not None else _text(some) for mark, some in parts
        )

    def example(self) -> str:
        return _text(self._data.questions().prompts[0].tolist()[1:-1])

    def reply(self, ids: Sequence[int]) -> list[int]:
        if self._database is None or ids[-1] != DATABASE:
            return []
        opens = len(ids) - 1 - ids[::-1].index(ASSISTANT)
        return [*encode(self._database.query(_text(ids[opens + 1 : -1]))).tolist(), ASSISTANT]


def _text(ids: Iterable[int]) -> str:
    return bytes(ids).decode(errors="replace")


def vocabulary(data: Data) -> Vocabulary:
    """The vocabulary of a task's data."""
    match data:
        case FactsData():
            return Dialogs(data)
        case BiographyData():
            return Biographies(data)
        case ArithmeticData():
            return Sums(data)
        case TextData(task=Text(objective=Masked() as objective)):
            return Gapped(data, objective)
    return Documents(data.tokenizer)
