"""Bit complexity against the published figures, and against what must hold for every model."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scalelab.tasks import build
from scalelab.tasks.biography.complexity import Nats, learned, most
from scalelab.tasks.biography.sentences import chunks as chunks_of
from scalelab.tasks.biography.sizes import BitPools
from scalelab.tasks.biography.spec import BioD, Biography

SETS = BioD(attributes=4, chunks=3, diversity=50, length=5, alphabet=40)


def bios(people: int) -> BitPools:
    return build(Biography(people=people)).complexity()


def biod(people: int, sets: BioD = SETS) -> BitPools:
    return build(Biography(people=people, text=sets, context=2048)).complexity()


def test_the_pools_hold_the_published_bits() -> None:
    pools = bios(100)
    assert sum(pools.value_bits.values()) == pytest.approx(47.5916, abs=5e-5)
    assert pools.name_bits == pytest.approx(27.2535, abs=5e-5)


@pytest.mark.parametrize(
    ("people", "bits"), [(10_000, 61.56), (100_000, 58.24), (1_000_000, 54.91), (20_000_000, 50.59)]
)
def test_bits_of_a_person_at_perfection(people: int, bits: float) -> None:
    """N at which the paper's models have Rmax = 2: 20M people are about a billion bits."""
    pools = BitPools(people, bios(100).name_bits, bios(100).value_bits, None)
    assert most(pools) / people == pytest.approx(bits, abs=0.005)


def test_bio_d_by_hand() -> None:
    """N = 100, K = 4, C = 3, D = 50, L = 5, T = 40: definition 4.1 term by term."""
    p1, p2, p3 = 9.0, 2.5, 0.75
    names = 100 * math.log2(1.6e8 / math.e**p1)
    values = 100 * 4 * math.log2(50**3 / math.e**p2)
    sets = 4 * 50 * math.log2(40**5 / (50 * math.e**p3))
    assert learned(biod(100), Nats(p1, p2, p3)) == pytest.approx(names + values + sets, rel=1e-12)
    perfect = (
        100 * math.log2(1.6e8 / 100) + 100 * 4 * 3 * math.log2(50) + 4 * 50 * math.log2(40**5 / 50)
    )
    assert most(biod(100)) == pytest.approx(perfect, rel=1e-12)


@given(
    people=st.integers(1, 200),
    attributes=st.integers(1, 3),
    chunks=st.integers(1, 3),
    diversity=st.integers(1, 300),
    length=st.integers(1, 3),
    alphabet=st.integers(1, 30),
    world=st.integers(0, 99),
)
@settings(deadline=None)
def test_a_perfect_model_of_sets_has_no_more_bits_than_its_text_holds(
    people: int,
    attributes: int,
    chunks: int,
    diversity: int,
    length: int,
    alphabet: int,
    world: int,
) -> None:
    """The text: a set of names, and strings that are drawn from sets that are drawn."""
    alphabet_L = alphabet**length
    assume(diversity <= alphabet_L)
    sets = BioD(
        attributes=attributes,
        chunks=chunks,
        diversity=diversity,
        length=length,
        alphabet=alphabet,
    )
    shown = [len(strings) for strings in shown_strings(sets, people, world)]
    names = math.lgamma(1.6e8 + 1) - math.lgamma(people + 1) - math.lgamma(1.6e8 - people + 1)
    held = names / math.log(2) + people * attributes * chunks * math.log2(diversity)
    held += sum(
        math.log2((alphabet_L - at) / (diversity - at)) for count in shown for at in range(count)
    )
    pools = build(Biography(people=people, text=sets, world=world, context=4096)).complexity()
    assert pools.strings == sum(shown)
    assert most(pools) <= held + 1e-6  # lgamma has seven digits behind the point


def shown_strings(sets: BioD, people: int, world: int) -> list[set[int]]:
    place_EKC = chunks_of(np.arange(people), sets, world)
    return [set(place_EKC[:, attribute].ravel().tolist()) for attribute in range(sets.attributes)]


def test_strings_that_nobody_shows_hold_nothing() -> None:
    """100 people show 63 of an attribute's 100 strings, about."""
    few, many = biod(100, BioD()), biod(2_000, BioD())
    assert 280 < few.strings < 350
    assert many.strings == 500
    each = 2 * math.log2(100) - math.log2(100)
    assert most(few) == pytest.approx(
        100 * (math.log2(1.6e6) + 5 * math.log2(100)) + few.strings * each, rel=1e-12
    )


@given(people=st.integers(1, 10**7))
def test_a_perfect_model_has_learned_all_there_is(people: int) -> None:
    pools = BitPools(people, bios(100).name_bits, bios(100).value_bits, None)
    assert learned(pools, Nats(math.log(people), 0.0)) == pytest.approx(most(pools), rel=1e-9)
    assert most(pools) == pytest.approx(people * (math.log2(1.6e8 / people) + 47.5916), rel=1e-4)


def test_a_guess_from_the_right_pools_has_learned_nothing() -> None:
    pools = bios(500)
    guess = Nats(pools.name_bits * math.log(2), sum(pools.value_bits.values()) * math.log(2))
    assert learned(pools, guess) == pytest.approx(0, abs=1e-9)
    sets = biod(500)
    guess = Nats(
        sets.name_bits * math.log(2), 3 * math.log(50), math.log(50)
    )  # it knows the sets, and of people nothing
    assert learned(sets, guess) == pytest.approx(
        4 * 50 * (5 * math.log2(40) - 2 * math.log2(50)), rel=1e-12
    )


def test_a_model_worse_than_a_guess_has_negative_bits() -> None:
    assert learned(bios(500), Nats(30.0, 90.0)) < -500 * 50


@given(
    st.floats(0, 50), st.floats(0, 50), st.floats(0, 50), st.sampled_from([bios(300), biod(300)])
)
def test_no_model_learns_more_than_there_is(
    over: float, value: float, first: float, pools: BitPools
) -> None:
    """A distribution over names gives the N that occur ln N nats on average, or more (Gibbs)."""
    assert learned(pools, Nats(math.log(300) + over, value, first)) <= most(pools) * (1 + 1e-12)
