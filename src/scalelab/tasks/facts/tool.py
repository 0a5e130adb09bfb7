"""The tool of a dialog: DATABASE ends a query, and behind the reply the assistant goes on."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from scalelab.generate.vocabulary import Tool
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, decode, encode


def database_tool(query: Callable[[str, int], str]) -> Tool:
    """A tool that replies `query(text, index)` to the text of a query from the dialog that the
    prompt at `index` began.
    """

    def answer(
        dialogs: Sequence[npt.NDArray[np.integer]], indices: Sequence[int]
    ) -> list[npt.NDArray[np.integer]]:
        replies = (
            query(_last_turn(dialog[:-1]), index)
            for dialog, index in zip(dialogs, indices, strict=True)
        )
        return [np.append(encode(reply), ASSISTANT) for reply in replies]

    return Tool(DATABASE, answer)


def _last_turn(dialog: npt.NDArray[np.integer]) -> str:
    return decode(dialog[np.flatnonzero(dialog == ASSISTANT)[-1] + 1 :])
