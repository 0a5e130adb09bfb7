"""People are the same for every number of people and on every machine, and values follow the rules
of the task.
"""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.tasks.facts.dialogs import names, values
from scalelab.tasks.facts.people import MOST_UNSEEN, NAMES, Cast, cast, name_ids
from scalelab.tasks.facts.pools import ATTRIBUTES
from scalelab.tasks.facts.spec import Facts


def people(count: int, **task: Any) -> Cast:
    return cast(Facts(people=count, **task), "seen")


@pytest.mark.parametrize("world", [0, 1, 10**30])
def test_names_are_a_bijection(world: int) -> None:
    first, family = name_ids(np.arange(NAMES), world)
    assert len(set(zip(first.tolist(), family.tolist(), strict=True))) == NAMES


def test_people_are_these_on_every_machine() -> None:
    four = people(4)
    assert names(four) == ["Astrid Johnson", "Ursula Gamble", "Nadia Paine", "Emily Yu"]
    assert {name: values(four, name) for name in ATTRIBUTES} == {
        "birth_date": ["5/7/1983", "6/7/1984", "5/1/1977", "8/11/1973"],
        "birth_place": ["Norway", "Kenya", "Japan", "Japan"],
        "current_address": ["Dallas", "Atlanta", "Algiers", "Canberra"],
        "occupation": ["cobbler", "forester", "geologist", "conductor"],
    }


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 5), st.floats(0, 1))
def test_person_i_is_the_same_for_every_number_of_people(
    few: int, many: int, world: int, dependence: float
) -> None:
    few, many = sorted((few, many))
    small, large = (people(count, world=world, dependence=dependence) for count in (few, many))
    assert names(small) == names(large)[:few]
    assert all(values(small, name) == values(large, name)[:few] for name in ATTRIBUTES)


def test_values_are_uniform_and_worlds_differ() -> None:
    many = people(7_000)
    counts = np.bincount(many.values["birth_place"], minlength=7)
    assert abs(counts - 1_000).max() < 5 * np.sqrt(1_000)
    assert len(np.unique(many.values["current_address"])) == 213
    assert (many.values["occupation"] == people(7_000, world=1).values["occupation"]).mean() < 0.02
    assert names(many) != names(people(7_000, world=1))


def test_attributes_are_independent() -> None:
    many = people(20_000)
    same = np.corrcoef([many.values[name] for name in ATTRIBUTES] + [many.first, many.family])
    assert abs(same - np.eye(len(same))).max() < 0.04


@pytest.mark.parametrize("alpha", [0.25, 0.75])
def test_dependence_is_the_share_of_facts_that_the_family_name_decides(alpha: float) -> None:
    independent, mixed, ruled = (
        people(8_000, dependence=strength) for strength in (0.0, alpha, 1.0)
    )
    for name in ATTRIBUTES:
        follows = mixed.values[name] == ruled.values[name]
        assert np.all(follows | (mixed.values[name] == independent.values[name]))
        by_luck = 1 / len(ATTRIBUTES[name])
        assert follows.mean() == pytest.approx(alpha + (1 - alpha) * by_luck, abs=0.03)


def test_full_dependence_is_a_function_of_the_family_name() -> None:
    many = people(8_000, dependence=1)
    for ids in many.values.values():
        assert len(set(zip(many.family.tolist(), ids.tolist(), strict=True))) == len(
            set(many.family.tolist())
        )


@pytest.mark.parametrize("count", [1, 2, 300])
def test_unseen_people_are_others(count: int) -> None:
    task = Facts(people=count)
    unseen = cast(task, "unseen")
    assert len(unseen) == min(count, MOST_UNSEEN)
    assert not set(names(unseen)) & set(names(cast(task, "seen")))


def test_more_people_than_names_are_an_error_with_a_cure() -> None:
    assert len(people(NAMES - MOST_UNSEEN)) == NAMES - MOST_UNSEEN
    with pytest.raises(UserError, match=f"at most {NAMES - MOST_UNSEEN} people"):
        people(NAMES - MOST_UNSEEN + 1)


@given(st.integers(1, 300), st.integers(0, 5))
def test_permuted_values_are_the_same_ones_and_differ_wherever_they_can(
    count: int, world: int
) -> None:
    true = people(count, world=world)
    permuted = true.permuted()
    assert names(permuted) == names(true)
    for name in ATTRIBUTES:
        assert Counter(values(permuted, name)) == Counter(values(true, name))
        commonest = max(Counter(values(true, name)).values())
        kept = sum(
            old == new for old, new in zip(values(true, name), values(permuted, name), strict=True)
        )
        assert kept == max(0, 2 * commonest - count)
