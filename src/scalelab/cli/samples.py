"""What two models say to the same prompt, side by side.

A sample is made once and kept with its trial, in the store itself.
"""

import shutil
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

from scalelab.cli.generating import loaded, safe
from scalelab.core.errors import UserError
from scalelab.core.locations import DATA, embedded_text

if TYPE_CHECKING:
    from scalelab.store import Store, StoredTrial

NAME = "sample"
"""The artifact's name; its place is a `data:` URL."""

_TOKENS, _TEMPERATURE, _SEED = 200, 0.8, 0
_GAP = " | "


def sample_text(opened: "Store", digest: str, data: str, where: str) -> str:
    """The sample of a trial, or the sentence that says why there is none."""
    try:
        return kept_sample(opened, digest, data, where)
    except UserError as fault:
        return f"({fault.what})"


def kept_sample(opened: "Store", digest: str, data: str, where: str) -> str:
    """The sample of a trial: the kept one, or one that is made now and kept.

    Raises UserError where its model can write none.
    """
    found = opened.trial(digest)
    place = found.artifacts.get(NAME)
    if place is not None:
        return embedded_text(place)
    text = sample(found, data, where)
    opened.attach(digest, NAME, f"{DATA}text/plain,{quote(text)}")
    return text


def sample(found: "StoredTrial", data: str, where: str) -> str:
    """What a trained model says: the same prompt and draws for every trial of a task.

    Raises UserError where it can say nothing.
    """
    from scalelab.generate import GREEDY, Sampling, fill, stream, whole
    from scalelab.spec.experiment import Trial
    from scalelab.tasks import vocabulary

    trial = Trial.model_validate(found.record.trial)
    model, built, device = loaded(trial, found, data, where)
    words = vocabulary(built)
    if words.gap is not None:
        ids = words.encode(words.example())
        [filled] = fill(model, words, ids, 1, limit=_TOKENS, sampling=GREEDY, device=device)
        return f"{words.decode(ids)}\n\n{filled.text}"
    asked = built.questions_with_answers()
    if asked:
        prompts = [question for question, _ in asked]
        limit = max(len(answer) for _, answer in asked) + 1
    else:
        prompts, limit = [words.example()], _TOKENS
    temperature = _TEMPERATURE * trial.task.temperature
    sampling = Sampling(temperature=temperature, seed=_SEED) if temperature else GREEDY
    said = whole(
        stream(model, words, prompts, limit=limit, sampling=sampling, device=device), len(prompts)
    )
    if asked:
        return "\n".join(
            _marked(question, one.text, answer)
            for (question, answer), one in zip(asked, said, strict=True)
        )
    return words.decode(words.encode(prompts[0])) + said[0].text


def _marked(question: str, said: str, answer: str) -> str:
    """`1+2=3`, or `1+2=4 (it is 3)`: one line, whatever was said."""
    return (
        question
        + safe(said.replace("\n", "\x00"))
        + ("" if said == answer else f" (it is {answer})")
    )


def beside(titles: Sequence[str], texts: Sequence[str], width: int | None = None) -> list[str]:
    """Lines with the texts in columns of one width, each under its title; the terminal's width, or
    120 where there is none.
    """
    width = width or shutil.get_terminal_size(fallback=(120, 40)).columns
    each = max(20, (width - len(_GAP) * (len(texts) - 1)) // len(texts))
    columns = [
        [title[:each], "-" * each, *_wrapped(text, each)]
        for title, text in zip(titles, texts, strict=True)
    ]
    rows = zip_longest(*columns, fillvalue="")
    return [_GAP.join(cell.ljust(each) for cell in row).rstrip() for row in rows]


def _wrapped(text: str, width: int) -> list[str]:
    lines = safe(text).expandtabs(4).splitlines()
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, width, drop_whitespace=False, replace_whitespace=False)
        or [""]
    ]
