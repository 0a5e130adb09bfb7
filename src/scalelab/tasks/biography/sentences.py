"""The sentences of a person as fragments: bioS with its templates, bioD with its diversity sets.

E biographies, A sentences, W fragments of a sentence after its subject (what stands before the
value, the value, what stands after it), K attributes, C chunks of a value, D strings in a diversity
set, L symbols in a string.
"""

import math
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt

from scalelab.tasks.biography import pools
from scalelab.tasks.biography.fragments import EMPTY, Fragments, Numbers
from scalelab.tasks.biography.people import Ids, drawn, shuffled, value
from scalelab.tasks.biography.spec import BioD, BioS, BioSSimple
from scalelab.tasks.biography.templates import TEMPLATES
from scalelab.tasks.biography.tokens import Bytes, Gpt2, Tokenizer, Words

NAME, VALUE = 1, 2
"""Pieces: a token of the name, and of the value of attribute a as VALUE + a; 0 is all else."""

POOLS = (pools.FIRST_NAMES, pools.MIDDLE_NAMES, pools.LAST_NAMES)


class Sentences(Protocol):
    """What a biography is made of; fragments are numbers in `fragments`."""

    fragments: Fragments
    names: tuple[Numbers, ...]
    """The pools of first, middle and last names."""
    subjects: Numbers
    """What the later sentences may begin with."""
    subject_piece: int
    """The piece that the second sentence's subject is."""
    after_name: int
    """What follows the name."""
    templates: int
    before_AT: Numbers
    after_AT: Numbers
    pieces_AW: npt.NDArray[np.int8]
    first_AW: npt.NDArray[np.bool_]
    """True for the first chunk of a value."""
    told_by: tuple[int, int] | None
    """Two sentences of which the second tells the first's value if it stands before it."""

    def subject(self, person_E: Ids) -> Numbers:
        """What each person's later sentences begin with, [E]."""
        ...

    def values(self, person_E: Ids) -> Numbers:
        """The fragments of each value, [E, A, W - 2]."""
        ...

    def longest_values(self) -> int:
        """Most tokens of all values together."""
        ...


class BioSSentences:
    """Five attributes and the city of work, which follows from the employer; the pronoun is the
    sixth attribute.
    """

    def __init__(self, spec: BioS | BioSSimple, tokens: str, world: int) -> None:
        self.world, self.templates = world, spec.templates
        self.fragments = add = Fragments(_tokenizer(tokens, _bios_texts()))
        self.names = _names(add)
        self.subjects, self.subject_piece = (
            add.add_words(pools.PRONOUNS),
            VALUE + list(pools.ATTRIBUTES).index("pronoun"),
        )
        self.after_name = EMPTY
        dates = [
            add.add_words(pools.MONTHS),
            add.add(f" {day},{add.closing}" for day in pools.DAYS),
            add.add_words(pools.YEARS),
        ]
        cities = add.add_words(pools.CITIES)
        self._pools = {
            "birth_date": add.add_joined(
                np.stack(np.meshgrid(*dates, indexing="ij"), -1).reshape(-1, 3)
            ),
            "birth_city": cities,
            "university": add.add_words(pools.UNIVERSITIES),
            "major": add.add_words(pools.MAJORS),
            "employer": add.add_words(pools.EMPLOYERS),
        }
        self._seats = cities[np.array(pools.SEATS)]
        texts = [
            TEMPLATES[attribute][: self.templates] for attribute in (*self._pools, "work_city")
        ]
        self.before_AT = np.stack(
            [add.add_openings(before for before, _ in pairs) for pairs in texts]
        )
        self.after_AT = np.stack([add.add(after for _, after in pairs) for pairs in texts])
        self.pieces_AW = np.array(
            [[0, VALUE + a, 0] for a in range(len(self._pools))] + [[0, 0, 0]], np.int8
        )
        self.first_AW = self.pieces_AW > 0
        self.told_by: tuple[int, int] | None = (len(self._pools) - 1, len(self._pools))

    def subject(self, person_E: Ids) -> Numbers:
        return self.subjects[value(person_E, "pronoun", self.world)]

    def values(self, person_E: Ids) -> Numbers:
        places = {attribute: value(person_E, attribute, self.world) for attribute in self._pools}
        found = [pool[places[attribute]] for attribute, pool in self._pools.items()]
        return np.stack([*found, self._seats[places["employer"]]], 1)[..., None]

    def longest_values(self) -> int:
        return sum(
            int(self.fragments.length[pool].max()) for pool in (*self._pools.values(), self._seats)
        )


class BioDSentences:
    """K attributes, each with D strings of its own; nothing else is told, so the subject is
    `Their`.
    """

    def __init__(self, spec: BioD, tokens: str, world: int) -> None:
        self.spec, self.world, self.templates = spec, world, 1
        symbols = _symbols(spec.alphabet)
        openings = [f" ID {attribute} is " for attribute in range(1, spec.attributes + 1)]
        self.fragments = add = Fragments(
            _tokenizer(tokens, [*_words_of_names(), "'s Their,.", *openings, *symbols])
        )
        self.names = _names(add)
        self.subjects, self.subject_piece = add.add_words(["Their"]), 0
        self.after_name, self._comma, end = (
            int(number) for number in add.add(["'s", f",{add.closing}", "."])
        )
        self.before_AT = add.add_openings(openings)[:, None]
        self.after_AT = np.full_like(self.before_AT, end)
        alone, following = add.add_words(symbols), add.add(f" {symbol}" for symbol in symbols)
        strings_XL = diversity_sets(spec, world).reshape(-1, spec.length)
        self._strings_KD = add.add_joined(
            np.concatenate([alone[strings_XL[:, :1]], following[strings_XL[:, 1:]]], 1)
        ).reshape(spec.attributes, spec.diversity)
        width = 2 * spec.chunks + 1
        inside = np.arange(width) % (width - 1) != 0
        self.pieces_AW = (inside * (VALUE + np.arange(spec.attributes)[:, None])).astype(np.int8)
        self.first_AW = np.tile(np.arange(width) == 1, (spec.attributes, 1))
        self.told_by: tuple[int, int] | None = None

    def subject(self, person_E: Ids) -> Numbers:
        return np.full(len(person_E), self.subjects[0], np.int32)

    def values(self, person_E: Ids) -> Numbers:
        spec = self.spec
        place_EKC = chunks(person_E, spec, self.world)
        found = np.full(
            (len(person_E), spec.attributes, 2 * spec.chunks - 1), self._comma, np.int32
        )
        found[..., ::2] = self._strings_KD[np.arange(spec.attributes)[:, None], place_EKC]
        return found

    def longest_values(self) -> int:
        of_value = self.fragments.length[self._strings_KD[0]].max() * self.spec.chunks
        return self.spec.attributes * int(
            of_value + self.fragments.length[self._comma] * (self.spec.chunks - 1)
        )


def chunks(person_E: Ids, spec: BioD, world: int) -> Ids:
    """Places in the attributes' diversity sets of the strings of each person's values,
    [E, K, C].
    """
    counter_EKC = (
        person_E[:, None] * (spec.attributes * spec.chunks)
        + np.arange(spec.attributes * spec.chunks)
    ).ravel()
    return drawn(counter_EKC, spec.diversity, world, "chunk").reshape(
        -1, spec.attributes, spec.chunks
    )


def diversity_sets(spec: BioD, world: int) -> npt.NDArray[np.int64]:
    """D distinct strings for each attribute, as symbols, [K, D, L]."""
    # As many symbols as a 62-bit number holds make the strings distinct; the others are drawn
    # freely.
    exact = min(spec.length, max(1, int(62 / math.log2(max(2, spec.alphabet)))))
    sets = np.empty((spec.attributes, spec.diversity, spec.length), np.int64)
    for attribute in range(spec.attributes):
        number = shuffled(
            np.arange(spec.diversity), spec.alphabet**exact, world, "biography", "set", attribute
        )
        for column in range(exact):
            number, sets[attribute, :, column] = np.divmod(number, spec.alphabet)
        free = np.arange(spec.diversity * (spec.length - exact)).reshape(spec.diversity, -1)
        sets[attribute, :, exact:] = drawn(free, spec.alphabet, world, "symbol", attribute)
    return sets


def _tokenizer(kind: str, texts: list[str]) -> Tokenizer:
    return Words(texts) if kind == "words" else Gpt2() if kind == "gpt2" else Bytes()


def _names(fragments: Fragments) -> tuple[Numbers, ...]:
    first, middle, last = POOLS
    return (
        fragments.add(first),
        fragments.add(f" {name}" for name in middle),
        fragments.add(f" {name}" for name in last),
    )


def _words_of_names() -> list[str]:
    return [name for pool in POOLS for name in pool]


def _bios_texts() -> list[str]:
    written = [text for pairs in TEMPLATES.values() for pair in pairs for text in pair]
    others = (
        pools.PRONOUNS,
        pools.MONTHS,
        pools.DAYS,
        pools.YEARS,
        pools.CITIES,
        pools.UNIVERSITIES,
        pools.MAJORS,
        pools.EMPLOYERS,
    )
    return [*_words_of_names(), *written, *(text for pool in others for text in pool)]


def _symbols(alphabet: int) -> list[str]:
    """Distinct words of equal length without a vowel: none is a word of the sentences."""
    letters, width = "bcdfghjklmnpqrstvwxz", 1
    while len(letters) ** width < alphabet:
        width += 1
    return [
        "".join(word)
        for word, _ in zip(product(letters, repeat=width), range(alphabet), strict=False)
    ]
