"""Prompts of the facts task: questions, and in-tool the database's answers."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from scalelab.generate.vocabulary import Vocabulary
from scalelab.tasks.facts.data import FactsData
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, TURNS, USER, encode
from scalelab.tasks.facts.tool import database_tool


def vocabulary(data: FactsData) -> Vocabulary:
    """Questions about people."""
    return Dialogs(data)


_MARKS = {USER: "[user] ", ASSISTANT: "\n[assistant] ", DATABASE: "\n[database] ", EOD: ""}


class Dialogs:
    """Questions about people; in-tool, the task's database answers the model's queries."""

    gap: int | None = None
    ends = TURNS

    def __init__(self, data: FactsData) -> None:
        self._data = data
        database = data.database() if data.task.recall == "in_tool" else None
        self.tool = database and database_tool(lambda text, _: database.query(text))

    def encode(self, prompt: str) -> list[int]:
        return [USER, *encode(prompt).tolist(), ASSISTANT]

    def decode(self, ids: Sequence[int]) -> str:
        parts = groupby(ids, lambda token: _MARKS.get(token))
        return "".join(
            mark * len(list(some)) if mark is not None else _text(some) for mark, some in parts
        )

    def example(self) -> str:
        return _text(self._data.questions().prompts[0].tolist()[1:-1])


def _text(ids: Iterable[int]) -> str:
    return bytes(ids).decode(errors="replace")
