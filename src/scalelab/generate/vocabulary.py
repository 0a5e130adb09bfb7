"""What a trial's tokens say: from a prompt to tokens, from tokens to text, and which tokens end a
text.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

from scalelab.core.errors import UserError
from scalelab.data import ArithmeticData, BiographyData, Data, FactsData
from scalelab.data.biography.sizes import is_marked
from scalelab.data.tokens import ASSISTANT, DATABASE, EOD, USER, encode


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
    return Documents(data.tokenizer)
