"""Tales: the same for everybody, read back to their choices, and true to what they say."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from scalelab.data.text.tales import NoTale, nats, tale, tales
from scalelab.data.text.tales.grammar import Writer, tell
from scalelab.data.text.tales.words import LIVING, NUMBERS, THINGS


class Careful(Writer):
    """A writer that adds up -log of its probabilities, and checks that choices differ."""

    def __init__(self, chance: Random) -> None:
        super().__init__(chance)
        self.nats = 0.0

    def choose(self, options: Sequence[str], weights: Sequence[float] | None = None) -> int:
        in_order = sorted(options)
        assert all(not after.startswith(before) for before, after in pairwise(in_order)), options
        index = super().choose(options, weights)
        share = 1 / len(options) if weights is None else weights[index] / sum(weights)
        self.nats -= math.log(share)
        return index


def test_a_text_has_one_derivation_and_its_probability_is_found() -> None:
    for number in range(500):
        writer = Careful(Random(number))
        tell(writer)
        assert nats(writer.text) == pytest.approx(writer.nats, abs=1e-9)


def test_a_tale_depends_on_its_seed_and_number_alone() -> None:
    assert tale(0, 3) == list(tales(0, count=4))[3]
    assert tale(0, 3) == next(tales(0, start=3))
    assert len({tale(seed, number) for seed in range(3) for number in range(50)}) == 150


def test_the_floor_of_the_corpus_is_known() -> None:
    texts = list(tales(count=400))
    floor = sum(map(nats, texts)) / sum(map(len, texts))
    assert 0.15 < floor < 0.2
    assert all(text.isascii() and text.endswith(".\n") for text in texts)


@pytest.mark.parametrize("change", ["drop", "swap", "add"])
def test_a_text_that_the_grammar_does_not_write_is_refused(change: str) -> None:
    text = tale(0, 1)
    wrong = {"drop": text[:-2], "swap": text.replace(" was ", " were ", 1), "add": f"{text}So."}
    with pytest.raises(NoTale):
        nats(wrong[change])


def test_numbers_add_up_and_verbs_agree() -> None:
    one, many, sums, verbs = {*LIVING}, {*LIVING.values()}, 0, 0
    for text in tales(count=300):
        count = 0
        for sentence in re.split(r"(?<=\.) ", text):
            if found := re.match(r"There s?he found (\w+) ", sentence):
                count = NUMBERS.index(found[1])
            if found := re.match(r"A stranger came by and gave \w+ (\w+) more", sentence):
                count += NUMBERS.index(found[1])
            if found := re.match(r"S?[Hh]e gave \w+ (\w+) of the ", sentence):
                count -= NUMBERS.index(found[1])
            if found := re.match(r"(?:Now s?he had|That left) (\w+) (?:\w+) ([\w ]+)\.", sentence):
                assert NUMBERS[count] == found[1]
                assert found[2] in (THINGS if count == 1 else THINGS.values())
                sums += 1
            if found := re.match(r"The (sheep dogs?|\w+) .*(was|were) \w+\.", sentence):
                assert found[2] == ("was" if found[1] in one else "were")
                assert found[1] in one | many
                verbs += 1
    assert sums > 100
    assert verbs > 100
