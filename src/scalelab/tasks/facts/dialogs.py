"""Dialogs: a question, for in-tool recall a query and the database's reply, and an answer that ends
in the value and a full stop.

Lengths are counted without rendering; both follow from the same patterns. A turn's length is that
of its text, its opening token apart.
"""

from collections.abc import Iterator
from functools import lru_cache
from string import Formatter
from typing import Literal

import numpy as np

from scalelab.data.tokens import Tokens
from scalelab.tasks.facts.people import Cast, Ids
from scalelab.tasks.facts.pools import ATTRIBUTES, FAMILY_NAMES, FIRST_NAMES
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER

Recall = Literal["in_weight", "in_tool"]

QUESTIONS = {
    "birth_date": (
        "When was {name} born?",
        "Birth date of {name}?",
        "{name} was born when?",
        "Say when {name} was born.",
    ),
    "birth_place": (
        "Where was {name} born?",
        "Birth country of {name}?",
        "{name} was born where?",
        "Say where {name} was born.",
    ),
    "current_address": (
        "Where does {name} live?",
        "Home city of {name}?",
        "{name} lives where?",
        "Say where {name} lives.",
    ),
    "occupation": (
        "What does {name} do?",
        "Occupation of {name}?",
        "{name} works as what?",
        "Say what {name} does.",
    ),
}

# An answer does not repeat the name: a small model would spend most of its training on copying it.
ANSWERS = {
    "birth_date": "On {value}.",
    "birth_place": "In {value}.",
    "current_address": "In {value}.",
    "occupation": "A {value}.",
}

QUERIES = {
    attribute: f"SELECT {attribute} FROM people WHERE name='{{quoted}}'" for attribute in ATTRIBUTES
}

# While a dialog is text, these characters stand for the tokens that open a turn or end the dialog.
_MARKS = {USER: "\0", ASSISTANT: "\1", DATABASE: "\2", EOD: "\3"}
_TOKENS = np.arange(256, dtype=np.uint16)
for _token, _mark in _MARKS.items():
    _TOKENS[ord(_mark)] = _token


def turns(attribute: str, template: int, recall: Recall) -> list[tuple[int, str]]:
    """The opening token and the pattern of each turn."""
    question, answer = (USER, QUESTIONS[attribute][template]), (ASSISTANT, ANSWERS[attribute])
    if recall == "in_weight":
        return [question, answer]
    return [question, (ASSISTANT, QUERIES[attribute]), (DATABASE, "{value}"), answer]


def turn_lengths(people: Cast, attribute: str, template: int, recall: Recall) -> Ids:
    """Tokens of each turn's text, [turns, people]."""
    fields = {**_name_lengths(people), "value": value_lengths(people, attribute)}
    patterns = [pattern for _, pattern in turns(attribute, template, recall)]
    lengths = np.empty((len(patterns), len(people)), np.int64)
    for turn, pattern in enumerate(patterns):
        literals, names, *_ = zip(*Formatter().parse(pattern), strict=True)
        lengths[turn] = sum(map(len, literals))
        for name in filter(None, names):
            lengths[turn] += fields[name]
    return lengths


@lru_cache(maxsize=4)
def _name_lengths(people: Cast) -> dict[str, Ids]:
    name = _lengths(FIRST_NAMES)[people.first] + 1 + _lengths(FAMILY_NAMES)[people.family]
    return {
        "name": name,
        "quoted": name
        + _apostrophes(FIRST_NAMES)[people.first]
        + _apostrophes(FAMILY_NAMES)[people.family],
    }


def value_lengths(people: Cast, attribute: str) -> Ids:
    """Bytes of each person's value."""
    return _lengths(ATTRIBUTES[attribute])[people.values[attribute]]


@lru_cache
def _lengths(pool: tuple[str, ...]) -> Ids:
    return np.array([len(text) for text in pool])


@lru_cache
def _apostrophes(pool: tuple[str, ...]) -> Ids:
    return np.array([text.count("'") for text in pool])


def names(people: Cast) -> list[str]:
    """Each person's full name."""
    return [
        f"{FIRST_NAMES[first]} {FAMILY_NAMES[family]}"
        for first, family in zip(people.first, people.family, strict=True)
    ]


def values(people: Cast, attribute: str) -> list[str]:
    """Each person's value of an attribute."""
    return [ATTRIBUTES[attribute][value] for value in people.values[attribute]]


def render(people: Cast, attribute: str, template: int, recall: Recall, width: int) -> Tokens:
    """The dialogs about one attribute, [people, width], padded with EOD."""
    pattern = "".join(
        _MARKS[opening] + text for opening, text in turns(attribute, template, recall)
    )
    texts = _texts(people, attribute, pattern)
    padded = "".join(text.ljust(width, _MARKS[EOD]) for text in texts).encode()
    return _TOKENS[np.frombuffer(padded, np.uint8)].reshape(len(people), width)


def prompts(people: Cast, attribute: str, template: int) -> list[Tokens]:
    """The question to each person, up to and with the token that opens the answer."""
    pattern = _MARKS[USER] + QUESTIONS[attribute][template] + _MARKS[ASSISTANT]
    return [
        _TOKENS[np.frombuffer(text.encode(), np.uint8)]
        for text in _texts(people, attribute, pattern)
    ]


def _texts(people: Cast, attribute: str, pattern: str) -> Iterator[str]:
    for name, value in zip(names(people), values(people, attribute), strict=True):
        yield pattern.format(name=name, quoted=name.replace("'", "''"), value=value)
