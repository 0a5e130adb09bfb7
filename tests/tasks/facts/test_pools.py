"""Pools are distinct and of recorded size, so that bits per fact are exact."""

import math

import pytest

from scalelab.tasks import build
from scalelab.tasks.facts.people import NAMES
from scalelab.tasks.facts.pools import ATTRIBUTES, FAMILY_NAMES, FIRST_NAMES
from scalelab.tasks.facts.spec import Facts


@pytest.mark.parametrize("pool", [FIRST_NAMES, FAMILY_NAMES, *ATTRIBUTES.values()])
def test_a_pool_is_distinct_ascii_and_of_single_words(pool: tuple[str, ...]) -> None:
    assert len(set(pool)) == len(pool)
    assert all(
        word.isascii() and word.split() == [word] and not word.endswith(".") for word in pool
    )


def test_sizes_are_as_published_and_names_are_enough() -> None:
    assert {name: len(pool) for name, pool in ATTRIBUTES.items()} == {
        "birth_date": 28 * 12 * 51,
        "birth_place": 7,
        "current_address": 213,
        "occupation": 100,
    }
    assert (len(FIRST_NAMES), len(FAMILY_NAMES)) == (463, 478)
    assert NAMES == 463 * 478 >= 100_000


def test_some_names_have_an_apostrophe_and_some_a_hyphen() -> None:
    for mark in "'-":
        assert any(mark in name for name in FAMILY_NAMES)


def test_occupations_take_the_article_a() -> None:
    assert not [job for job in ATTRIBUTES["occupation"] if job[0] in "aeiou"]


def test_bits_and_chance_follow_from_the_pools() -> None:
    data = build(Facts())
    person = [math.log2(17_136), math.log2(7), math.log2(213), math.log2(100)]
    assert data.fact_bits().tolist() == pytest.approx(16 * person)
    assert sum(person) == pytest.approx(31.25, abs=0.005)
    assert data.chance() == pytest.approx((1 / 17_136 + 1 / 7 + 1 / 213 + 1 / 100) / 4)
