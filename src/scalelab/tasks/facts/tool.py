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
        replies: list[npt.NDArray[np.integer]] = []
        for dialog, index in zip(dialogs, indices, strict=True):
            begin = np.flatnonzero(dialog[:-1] == ASSISTANT)[-1] + 1
            reply = query(decode(dialog[begin:-1]), index)
            replies.append(np.append(encode(reply), ASSISTANT))
        return replies

    return Tool(DATABASE, answer)
