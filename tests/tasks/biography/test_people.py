"""People of biographies: a name of their own each, the same for every number of people, values
uniform and independent.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.tasks.biography import pools
from scalelab.tasks.biography.people import drawn, names, shuffled, value
from scalelab.tasks.biography.sentences import diversity_sets
from scalelab.tasks.biography.spec import BioD


@given(st.integers(1, 3_000), st.integers(0, 10**20), st.integers(0, 1 << 30))
def test_shuffled_is_a_permutation(size: int, seed: int, turn: int) -> None:
    index = np.arange(size)
    places = shuffled(index, size, seed, "test", turn_E=np.full(size, turn))
    assert np.array_equal(np.sort(places), index)
    some = index[::3]
    assert np.array_equal(
        shuffled(some, size, seed, "test", turn_E=np.full(len(some), turn)), places[::3]
    )


@pytest.mark.parametrize("size", [2, 3, 5, 100])
def test_every_place_is_equally_likely_and_turns_differ(size: int) -> None:
    turns = 12_000
    place_TS = shuffled(
        np.tile(np.arange(size), turns), size, 0, "test", turn_E=np.repeat(np.arange(turns), size)
    ).reshape(turns, size)
    counts = np.stack(
        [np.bincount(place_TS[:, index], minlength=size) for index in range(min(size, 5))]
    )
    assert abs(counts - turns / size).max() < 5 * np.sqrt(turns / size)
    assert len(np.unique(place_TS, axis=0)) >= min(turns, 2 * size - 2)


def test_names_are_a_bijection() -> None:
    """Many from both ends, for speed; all of them below."""
    ends = np.concatenate([np.arange(400_000), pools.NAMES - 1 - np.arange(400_000)])
    first, middle, last = names(ends, 0)
    assert len(np.unique((first * 400 + middle) * 1000 + last)) == len(ends)
    for place, pool in zip(
        (first, middle, last),
        (pools.FIRST_NAMES, pools.MIDDLE_NAMES, pools.LAST_NAMES),
        strict=True,
    ):
        counts = np.bincount(place, minlength=len(pool))
        assert len(counts) == len(pool)
        assert abs(counts - len(ends) / len(pool)).max() < 5 * np.sqrt(len(ends) / len(pool))


@pytest.mark.slow
def test_every_one_of_the_names_is_given_once() -> None:
    seen = np.zeros(pools.NAMES, np.bool_)
    for start in range(0, pools.NAMES, 1 << 22):
        seen[
            shuffled(
                np.arange(start, min(start + (1 << 22), pools.NAMES)),
                pools.NAMES,
                0,
                "biography",
                "name",
            )
        ] = True
    assert seen.all()


def test_values_are_uniform_and_worlds_differ() -> None:
    people = np.arange(40_000)
    for attribute, size in pools.ATTRIBUTES.items():
        counts = np.bincount(value(people, attribute, 0), minlength=size)
        assert len(counts) == size
        # The chi-squared statistic has the mean size - 1 and a variance of twice that.
        statistic = ((counts - 40_000 / size) ** 2).sum() / (40_000 / size)
        assert abs(statistic - (size - 1)) < 5 * np.sqrt(2 * size)
        assert (value(people, attribute, 0) == value(people, attribute, 1)).mean() == pytest.approx(
            1 / size, abs=0.01
        )


def test_attributes_and_names_are_independent() -> None:
    people = np.arange(20_000)
    columns = [value(people, attribute, 0) for attribute in pools.ATTRIBUTES] + list(
        names(people, 0)
    )
    assert abs(np.corrcoef(columns) - np.eye(len(columns))).max() < 0.035


@given(
    st.builds(
        BioD,
        attributes=st.integers(1, 4),
        diversity=st.integers(1, 20),
        length=st.integers(2, 30),
        alphabet=st.integers(5, 40_000),
    ),
    st.integers(0, 3),
)
@settings(max_examples=50)
def test_diversity_sets_are_distinct_strings(spec: BioD, world: int) -> None:
    sets_KDL = diversity_sets(spec, world)
    assert sets_KDL.shape == (spec.attributes, spec.diversity, spec.length)
    assert sets_KDL.min() >= 0
    assert sets_KDL.max() < spec.alphabet
    assert all(len(np.unique(strings_DL, axis=0)) == spec.diversity for strings_DL in sets_KDL)


def test_a_diversity_set_may_hold_every_string() -> None:
    strings_DL = diversity_sets(BioD(attributes=1, diversity=81, length=4, alphabet=3), 0)[0]
    assert len(np.unique(strings_DL, axis=0)) == 81


def test_symbols_are_uniform() -> None:
    sets_KDL = diversity_sets(BioD(attributes=3, diversity=4_000, length=20, alphabet=10), 0)
    for symbols_KD in np.moveaxis(sets_KDL, 2, 0):
        assert abs(np.bincount(symbols_KD.ravel(), minlength=10) - 1_200).max() < 5 * np.sqrt(1_200)


def test_draws_are_these_on_every_machine() -> None:
    assert shuffled(np.arange(6), 6, 0, "test").tolist() == [2, 5, 0, 4, 1, 3]
    assert drawn(np.arange(4), 1000, 0, "test").tolist() == [689, 207, 45, 292]
