"""Sizes of a facts task, counted without rendering a dialog."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from scalelab.core.errors import UserError
from scalelab.tasks.facts.dialogs import turn_lengths, turns
from scalelab.tasks.facts.people import Cast, Ids, cast
from scalelab.tasks.facts.pools import ATTRIBUTES
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT, VOCAB
from scalelab.tasks.task import TaskShape


def describe(task: Facts, folder: str = "") -> TaskShape:
    """The sizes of a task, counted without rendering a dialog; cached.

    The window holds what is trained on, and the dialogs about people never trained on and with
    permuted values too. Raises UserError if `task.context` is shorter than the longest dialog, or
    if there are not enough names.
    """
    return _describe(task)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


@lru_cache(maxsize=1024)
def _describe(task: Facts) -> TaskShape:
    seen = cast(task, "seen")
    trained = list(_row_sizes(seen, task))
    asked = [cast(task, "unseen"), *([seen.permuted()] if task.recall == "in_tool" else [])]
    rows = chain(trained, *(_row_sizes(people, task) for people in asked))
    longest = max(int(tokens.max()) for tokens, _ in rows)
    if task.context is not None and task.context < longest:
        what = f"a context of {task.context} tokens cuts the longest dialog"
        raise UserError(what, cure=f"take `task.context: {longest}` or more, or leave it out")
    facts = len(seen) * len(ATTRIBUTES)
    return TaskShape(
        vocab=VOCAB,
        context=(task.context or longest) - 1,
        facts=facts,
        sequences=facts,
        targets=max(int(targets.max()) for _, targets in trained),
        mean_tokens=sum(float(tokens.mean()) - 1 for tokens, _ in trained) / len(trained),
    )


def _row_sizes(people: Cast, task: Facts) -> Iterator[tuple[Ids, Ids]]:
    """Tokens and loss positions of each person's row, for each attribute and template."""
    for attribute in ATTRIBUTES:
        for template in range(task.templates):
            lengths = turn_lengths(people, attribute, template, task.recall)
            spoken = [
                turn
                for turn, (opening, _) in enumerate(turns(attribute, template, task.recall))
                if opening == ASSISTANT
            ]
            # Each turn has an opening token, the dialog ends in EOD, and a turn of the assistant
            # predicts the token after it too.
            yield lengths.sum(0) + len(lengths) + 1, lengths[spoken].sum(0) + len(spoken)
