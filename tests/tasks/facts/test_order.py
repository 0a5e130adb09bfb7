"""The order of training: passes over every fact, as a pure function of seed and step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.tasks import build
from scalelab.tasks.facts.order import Order
from scalelab.tasks.facts.spec import Facts


@given(st.integers(1, 700), st.integers(1, 4), st.integers(0, 5), st.integers(1, 300))
@settings(max_examples=50)
def test_every_pass_shows_every_fact_once_also_across_batches(
    facts: int, templates: int, seed: int, batch: int
) -> None:
    order = Order(facts, templates, seed, batch)
    rows = np.concatenate([order.rows(step) for step in range(3 * facts // batch + 1)])
    assert rows.dtype == np.int64
    for shown in rows[: len(rows) // facts * facts].reshape(-1, facts) // templates:
        assert np.array_equal(np.sort(shown), np.arange(facts))


@given(
    st.lists(st.integers(0, 40_000), min_size=1, max_size=10),
    st.sampled_from([4, 64, 3_000, 131_072]),
)
@settings(max_examples=25)
def test_a_step_is_the_same_in_whatever_sequence_it_is_asked_for(
    steps: list[int], facts: int
) -> None:
    order = Order(facts, 4, 7, 128)
    for step in steps:
        assert np.array_equal(order.rows(step), Order(facts, 4, 7, 128).rows(step))


def test_seeds_passes_and_templates_differ() -> None:
    order = build(Facts(people=64)).order(0, 256)
    assert not np.array_equal(order.rows(0), order.rows(1))
    assert not np.array_equal(order.rows(0), build(Facts(people=64)).order(1, 256).rows(0))
    drawn = np.concatenate([order.rows(step) for step in range(1_000)])
    counts = np.bincount(drawn, minlength=1_024)
    assert abs(counts - 250).max() < 5 * np.sqrt(250)


def test_the_order_is_this_on_every_machine() -> None:
    assert Order(4, 4, 0, 8).rows(0).tolist() == [3, 5, 9, 12, 5, 2, 9, 15]
    assert Order(131_072, 4, 3, 4).rows(70_000).tolist() == [426772, 405712, 31508, 157731]
