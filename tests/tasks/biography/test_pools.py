"""Pools have the sizes that bits are counted from, and a value's tokens alone tell
where it ends.
"""

import math
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

from scalelab.data.text.tokenizers.tiktoken import FOLDER
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.templates import TEMPLATES
from scalelab.tasks.biography.tokens import DOMAIN, EOS, Bytes, Gpt2, Tokenizer, Words

SIZES = {
    "FIRST_NAMES": 400,
    "MIDDLE_NAMES": 400,
    "LAST_NAMES": 1000,
    "MONTHS": 12,
    "DAYS": 28,
    "YEARS": 200,
    "CITIES": 200,
    "UNIVERSITIES": 300,
    "MAJORS": 100,
    "EMPLOYERS": 263,
    "PRONOUNS": 2,
}
"""arXiv 2404.05405, definition 2.2."""

DATES = tuple(
    f"{month} {day}, {year}"
    for month in pools.MONTHS
    for day in pools.DAYS
    for year in pools.YEARS[::50]
)
WHOLE = {
    name: getattr(pools, name) for name in SIZES if name not in ("MONTHS", "DAYS", "YEARS")
} | {"DATES": DATES}


@pytest.fixture(params=["bytes", "words", "gpt2"])
def tokenizer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    if request.param == "gpt2":
        if "SCALELAB_TEST_DATA" not in os.environ:
            pytest.skip("SCALELAB_TEST_DATA names no folder with GPT-2's files")
        monkeypatch.setenv(FOLDER, str(Path(os.environ["SCALELAB_TEST_DATA"]) / "gpt2"))
        return Gpt2()
    return (
        Bytes()
        if request.param == "bytes"
        else Words([text for pool in WHOLE.values() for text in pool])
    )


@pytest.mark.parametrize("name", SIZES)
def test_pools_have_the_sizes_of_the_paper(name: str) -> None:
    pool = getattr(pools, name)
    assert len(pool) == len(set(pool)) == SIZES[name]
    assert all(text.isascii() for text in pool)


def test_bits_are_those_of_the_paper() -> None:
    assert math.log2(pools.NAMES) == pytest.approx(27.2535, abs=1e-4)
    assert math.log2(math.prod(pools.ATTRIBUTES.values())) == pytest.approx(47.5916, abs=1e-4)


@pytest.mark.parametrize("name", WHOLE)
def test_no_value_begins_another(name: str, tokenizer: Tokenizer) -> None:
    before = " " if tokenizer.opens else ""
    encoded = sorted(tokenizer.encode(before + text) for text in WHOLE[name])
    assert not [pair for pair in pairwise(encoded) if pair[1][: len(pair[0])] == pair[0]]


def test_an_employer_has_one_city_of_work() -> None:
    assert len(pools.SEATS) == len(pools.EMPLOYERS)
    assert set(pools.SEATS) == set(range(len(pools.CITIES)))


@pytest.mark.parametrize("attribute", TEMPLATES)
def test_fifty_templates_of_an_attribute_that_tell_nothing_else(attribute: str) -> None:
    pairs = TEMPLATES[attribute]
    assert len(set(pairs)) == 50
    assert all(
        re.fullmatch(r" [a-z]+( [a-z]+)* ", before)
        and re.fullmatch(r"(,? [a-z]+( [a-z]+)*)?\.", after)
        for before, after in pairs
    )
    written = {word for pair in pairs for text in pair for word in re.findall("[a-z]+", text)}
    assert not written & {
        "he",
        "she",
        "his",
        "her",
        "him",
        "hers",
        "himself",
        "herself",
        "man",
        "woman",
        "father",
        "mother",
    }


def test_text_comes_back_from_its_tokens(tokenizer: Tokenizer) -> None:
    for text in ("Alvik Ashby Halgate", "January 1, 1900", "University of Aldmouth"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    marked = [
        tokenizer.eos,
        tokenizer.domain,
        *tokenizer.encode("He"),
        tokenizer.eos,
        *tokenizer.encode("She"),
    ]
    assert tokenizer.decode(marked) == f"{EOS}{DOMAIN}He{EOS}She"
