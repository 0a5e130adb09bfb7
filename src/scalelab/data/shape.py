"""What a plan must know of a task, without building it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from scalelab.core.errors import UserError
from scalelab.data.dialogs import turn_lengths, turns
from scalelab.data.people import Cast, Ids, cast
from scalelab.data.pools import ATTRIBUTES
from scalelab.data.tokens import ASSISTANT, VOCAB
from scalelab.spec.task import Facts


@dataclass(frozen=True)
class TaskShape:
    """Sizes that parameters, FLOPs and budgets are counted from."""

    vocab: int
    """Number of distinct tokens."""
    context: int
    """Positions the model runs over: the tokens of a window, less the last, which is only
    predicted.
    """
    facts: int
    """Number of facts."""
    sequences: float
    """Sequences shown in one pass over every fact; where windows are packed, as many as are
    expected, junk counted in.
    """
    targets: int
    """Most positions of one row whose next token bears loss."""
    mean_tokens: float
    """Mean positions of a row without padding."""
    used: int | None = None
    """Tokens that occur in the text, special ones counted in; None where all may."""
    shards: str | None = None
    """Digest of the prepared text that the sizes were read from; None for a task that makes its
    own.
    """


def describe(task: Facts) -> TaskShape:
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
