"""What a plan must know of a biography task, and the constants that bits are counted from; neither
writes the stream.

A sentences, T templates of a sentence.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scalelab.core.errors import UserError
from scalelab.data.hashing import Words
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.people import Ids
from scalelab.tasks.biography.sentences import chunks
from scalelab.tasks.biography.spec import BioD, Biography, BioSSimple
from scalelab.tasks.biography.text import Writer, writer
from scalelab.tasks.task import TaskShape

COUNTED = 1 << 16
"""People whose biographies are measured; beyond, the first ones stand for all."""

_BLOCK = 1 << 20
"""Fragments, about, that are looked at together."""


@dataclass(frozen=True)
class BitPools:
    """The constants of the bit complexity (arXiv 2404.05405, definitions 4.1 and 4.3)."""

    people: int
    """N."""
    name_bits: float
    """log2 N0: a name that may be anyone's."""
    value_bits: dict[str, float]
    """log2 of the number of values of each counted attribute, in the order of the pieces; they sum
    to log2 S0, or to K C log2 D.
    """
    sets: BioD | None
    """K, C, D, L, T of bioD, where the strings of the diversity sets are learned too."""
    strings: int = 0
    """Of the K D strings of all diversity sets those that the people's values show."""


def complexity(task: Biography) -> BitPools:
    """The constants that a task's bits are counted from; cached."""
    return _complexity(task)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


@lru_cache(maxsize=64)
def _complexity(task: Biography) -> BitPools:
    sets = task.text if isinstance(task.text, BioD) else None
    strings = 0 if sets is None else _shown(sets, task.people, task.world)
    return BitPools(task.people, math.log2(pools.NAMES), _value_bits(task), sets, strings)


def _value_bits(task: Biography) -> dict[str, float]:
    text = task.text
    if not isinstance(text, BioD):
        return {name: math.log2(size) for name, size in pools.ATTRIBUTES.items()}
    each = text.chunks * math.log2(text.diversity)
    return {f"id_{k}": each for k in range(1, text.attributes + 1)}


def _shown(sets: BioD, people: int, world: int) -> int:
    """Strings of all diversity sets that some of the people's values show."""
    shown_KD = np.zeros((sets.attributes, sets.diversity), np.bool_)
    size = max(1, _BLOCK // (sets.attributes * sets.chunks))
    for start in range(0, people, size):
        place_EKC = chunks(np.arange(start, min(start + size, people)), sets, world)
        shown_KD[np.arange(sets.attributes)[:, None], place_EKC] = True
        if shown_KD.all():
            break
    return int(shown_KD.sum())


def written_by(task: Biography) -> Writer:
    """The writer of a task's biographies.

    Raises UserError where GPT-2's files are not to be had, or for too few names.
    """
    everyone = task.people + (task.junk.people if task.junk else 0)
    if everyone > pools.NAMES:
        raise UserError(
            f"{everyone:,} people need more names than there are",
            cure=f"take at most {pools.NAMES:,}, junk counted in",
        )
    return writer(task.text, task.tokens, task.world)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


def shape(task: Biography) -> TaskShape:
    """The sizes of a biography task; cached.

    Raises UserError if `task.context` is shorter than a biography may be.
    """
    return _shape(task)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


@lru_cache(maxsize=1024)
def _shape(task: Biography) -> TaskShape:
    writer, marked = written_by(task), is_marked(task)
    longest = writer.longest(marked)
    if task.context < longest:
        what = f"a context of {task.context} tokens does not hold the longest biography"
        raise UserError(what, cure=f"take `task.context: {longest}` or more")
    positions = task.context - 1
    useful = task.junk.useful if task.junk else 1.0
    return TaskShape(
        vocab=writer.tokenizer.vocab,
        context=positions,
        facts=task.people * len(_value_bits(task)),
        sequences=task.people * mean_length(task) / positions / useful,
        targets=positions,
        mean_tokens=positions,
        used=used(task),
    )


def is_marked(task: Biography) -> bool:
    """Whether useful biographies begin with the domain token."""
    return task.junk is not None and task.junk.domain_token


def mean_length(task: Biography) -> float:
    """Tokens of a useful biography, its EOS counted in: the mean over the people and, where they
    are drawn anew, the templates.
    """
    writer, marked, count = written_by(task), is_marked(task), min(task.people, COUNTED)
    written = sum(
        int(writer.lengths(some, _draws(task, some), marked).sum())
        for some in _blocks(writer, np.arange(count))
    )
    if isinstance(task.text, BioSSimple):
        return written / count
    templates_AT = (
        writer.fragments.length[writer.sentences.before_AT]
        + writer.fragments.length[writer.sentences.after_AT]
    )
    return written / count + float((templates_AT.mean(1) - templates_AT[:, 0]).sum())


def used(task: Biography) -> int:
    """Distinct tokens that the task's text may show, marks counted in."""
    writer = written_by(task)
    shown = np.zeros(len(writer.fragments.length), np.bool_)
    for some in _blocks(writer, np.arange(min(task.people, COUNTED))):
        shown[writer.numbers(some, _draws(task, some), is_marked(task))] = True
    for some in _blocks(
        writer, pools.NAMES - 1 - np.arange(min(task.junk.people, COUNTED) if task.junk else 0)
    ):
        shown[writer.numbers(some, _draws(task, some), False)] = True
    if not isinstance(task.text, BioSSimple):
        shown[writer.sentences.before_AT] = shown[writer.sentences.after_AT] = True
    return len(np.unique(writer.fragments.tokens(np.flatnonzero(shown).astype(np.int32))))


def _draws(task: Biography, people: Ids) -> Words:
    """Each person's own draws, or the first template of each sentence where templates are drawn
    anew.
    """
    writer = written_by(task)
    own = writer.once(people)
    return own if isinstance(task.text, BioSSimple) else np.zeros_like(own)


def _blocks(writer: Writer, people: Ids) -> Iterator[Ids]:
    size = max(1, _BLOCK // writer.sentences.pieces_AW.size)
    return (people[start : start + size] for start in range(0, len(people), size))
