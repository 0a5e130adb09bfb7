"""Prompts of the facts task: questions, and in-tool the database's answers."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from scalelab.generate.vocabulary import Vocabulary
from scalelab.tasks.facts.data import FactsData
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, encode


def vocabulary(data: FactsData) -> Vocabulary:
    """Questions about people."""
    return Dialogs(data)


_MARKS = {USER: "[user] ", ASSISTANT: "\n[assistant] ", DATABASE: "\n[database] ", EOD: ""}


class Dialogs:
    """Questions about people; in-tool, the task's database answers the model's queries."""

    gap: int | None = None

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
