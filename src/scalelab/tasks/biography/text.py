"""Biographies as tokens: who is written of, with which templates and in which order of the
sentences.

E biographies, A sentences, W fragments of a sentence after its subject, F fragments of a biography,
M tokens in all.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import Words, words
from scalelab.data.tokens import Tokens
from scalelab.tasks.biography import people
from scalelab.tasks.biography.fragments import EMPTY, Numbers
from scalelab.tasks.biography.people import Ids
from scalelab.tasks.biography.sentences import NAME, BioDSentences, BioSSentences, Sentences
from scalelab.tasks.biography.spec import BioD, BioS, BioSSimple


@dataclass(frozen=True)
class Written:
    """Biographies one after the other, each from its EOS on."""

    tokens_M: Tokens
    lengths_E: npt.NDArray[np.int64]
    pieces_M: npt.NDArray[np.int8]
    """What a token is: 0 other, 1 name, 2 + a value of attribute a."""
    first_M: npt.NDArray[np.bool_]
    """True for the first chunk of a value."""


class Writer:
    """Writes the biographies of one kind of text.

    `marked` biographies have the domain token after EOS.
    """

    def __init__(self, spec: BioS | BioSSimple | BioD, tokens: str, world: int) -> None:
        self.world = world
        self.sentences: Sentences = (
            BioDSentences(spec, tokens, world)
            if isinstance(spec, BioD)
            else BioSSentences(spec, tokens, world)
        )
        self.fragments, self.tokenizer = (
            self.sentences.fragments,
            self.sentences.fragments.tokenizer,
        )
        self._heads = [
            self.fragments.add_marks(self.tokenizer.eos),
            self.fragments.add_marks(self.tokenizer.eos, self.tokenizer.domain),
        ]
        self._space = int(self.fragments.add([self.fragments.closing])[0])

    def anew(self, exposure_E: Ids, seed: int) -> Words:
        """The draws of each exposure's templates and order, [E, A]."""
        count = len(self.sentences.before_AT)
        return words(seed, "text", at=(exposure_E[:, None] * count + np.arange(count)))

    def once(self, person_E: Ids) -> Words:
        """The draws of each person's one biography, [E, A]: no sentence tells the value of a later
        one.
        """
        draws_EA = self.anew(person_E, self.world)
        if self.sentences.told_by is not None:
            told, telling = self.sentences.told_by
            early, late = draws_EA[:, told].copy(), draws_EA[:, telling].copy()
            draws_EA[:, told], draws_EA[:, telling] = (
                np.minimum(early, late),
                np.maximum(early, late),
            )
        return draws_EA

    def tokens(self, person_E: Ids, draws_EA: Words, marked: bool) -> Tokens:
        """The biographies one after the other, [M]."""
        return self.fragments.tokens(self.numbers(person_E, draws_EA, marked))

    def lengths(self, person_E: Ids, draws_EA: Words, marked: bool) -> npt.NDArray[np.int64]:
        """Tokens of each biography, [E]; the order of its sentences does not matter."""
        name_E, subject_E, blocks_EAW = self._parts(person_E, draws_EA)
        length = self.fragments.length
        joints = len(blocks_EAW[0]) - 1
        fixed = (
            length[self._heads[marked]]
            + length[self.sentences.after_name]
            + joints * length[self._space]
        )
        return (
            fixed
            + length[name_E].sum(1)
            + joints * length[subject_E]
            + length[blocks_EAW].sum((1, 2))
        )

    def numbers(self, person_E: Ids, draws_EA: Words, marked: bool) -> Numbers:
        """Every biography's fragments, [E, F]."""
        name_E, subject_E, blocks_EAW = self._parts(person_E, draws_EA)
        leads = np.empty((*draws_EA.shape, 2), np.int32)
        leads[..., 0], leads[..., 1] = self._space, subject_E[:, None]
        leads[:, 0] = EMPTY, self.sentences.after_name
        ordered = np.take_along_axis(blocks_EAW, _order(draws_EA)[..., None], 1)
        head = np.full((len(person_E), 1), self._heads[marked], np.int32)
        return np.concatenate(
            [head, name_E, np.concatenate([leads, ordered], 2).reshape(len(person_E), -1)], 1
        )

    def written(self, person_E: Ids, draws_EA: Words, marked: bool) -> Written:
        """The biographies with what each token is."""
        numbers_EF = self.numbers(person_E, draws_EA, marked)
        length_EF = self.fragments.length[numbers_EF]
        pieces_EF, first_EF = self._tags(_order(draws_EA))
        return Written(
            tokens_M=self.fragments.tokens(numbers_EF),
            lengths_E=length_EF.sum(1),
            pieces_M=np.repeat(pieces_EF.ravel(), length_EF.ravel()),
            first_M=np.repeat(first_EF.ravel(), length_EF.ravel()),
        )

    def longest(self, marked: bool) -> int:
        """Most tokens that a biography may have, its EOS counted in."""
        parts, length = self.sentences, self.fragments.length
        joints = len(parts.before_AT) - 1
        fixed = (
            length[self._heads[marked]]
            + length[parts.after_name]
            + joints * (length[self._space] + length[parts.subjects].max())
        )
        names = sum(int(length[pool].max()) for pool in parts.names)
        templates = int((length[parts.before_AT] + length[parts.after_AT]).max(1).sum())
        return int(fixed) + names + templates + parts.longest_values()

    def _parts(self, person_E: Ids, draws_EA: Words) -> tuple[Numbers, Numbers, Numbers]:
        """Fragments of the names [E, 3], of the subjects [E] and of the sentences in their own
        order [E, A, W].
        """
        parts = self.sentences
        places = people.names(person_E, self.world)
        name_E = np.stack([pool[place] for pool, place in zip(parts.names, places, strict=True)], 1)
        template_EA = ((draws_EA & np.uint64(0xFFFFFFFF)) % np.uint64(parts.templates)).astype(
            np.int64
        )
        at_A = np.arange(len(parts.before_AT))
        before, after = parts.before_AT[at_A, template_EA], parts.after_AT[at_A, template_EA]
        return (
            name_E,
            parts.subject(person_E),
            np.concatenate([before[..., None], parts.values(person_E), after[..., None]], 2),
        )

    def _tags(self, order_EA: Ids) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """Piece and first-chunk mark of every fragment, [E, F]."""
        count, parts = len(order_EA), self.sentences
        leads = np.zeros((*order_EA.shape, 2), np.int8)
        leads[:, 1:2, 1] = parts.subject_piece
        name = np.tile(np.array([0, NAME, NAME, NAME], np.int8), (count, 1))
        pieces = np.concatenate([leads, parts.pieces_AW[order_EA]], 2).reshape(count, -1)
        first = np.concatenate([leads > 0, parts.first_AW[order_EA]], 2).reshape(count, -1)
        return np.concatenate([name, pieces], 1), np.concatenate(
            [np.zeros_like(name, np.bool_), first], 1
        )


def _order(draws_EA: Words) -> Ids:
    """The order of each biography's sentences, [E, A]: the high half of the draws decides it, the
    low half the template.
    """
    return np.argsort(draws_EA >> np.uint64(32), axis=1, kind="stable")


@lru_cache(maxsize=8)
def writer(spec: BioS | BioSSimple | BioD, tokens: str, world: int) -> Writer:
    """The writer of a kind of text; cached."""
    return Writer(spec, tokens, world)
