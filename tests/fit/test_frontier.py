"""The frontier against its definition: what passes, what is censored, what is not a result."""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.fit.frontier import cells

ROW = {"state": "done", "task.people": 8, "task.recall": "in_weight", "seed": 0}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**ROW, "digest": f"d{index}", **row} for index, row in enumerate(rows)])


def run(size: int, recall: float | None, **more: Any) -> dict[str, Any]:
    return {"params.total": size, "metrics.recall": recall, **more}


def test_the_answer_is_the_smallest_passing_size_that_was_run() -> None:
    (cell,) = cells(frame(run(400, 0.99), run(100, 0.2), run(200, 0.95)))
    (answer,) = cell.answers
    assert (answer.size, answer.passed, answer.digest, answer.below, answer.tried) == (
        200,
        True,
        "d2",
        100,
        3,
    )
    assert cell.facts == 32


def test_a_size_above_the_first_passing_one_may_fail() -> None:
    (cell,) = cells(frame(run(100, 0.1), run(200, 0.97), run(300, 0.9), run(400, 1.0)))
    assert cell.answers[0].size == 200


def test_a_replicate_without_a_passing_size_is_censored_at_the_largest_tried() -> None:
    (cell,) = cells(
        frame(run(100, 0.5), run(400, 0.9), run(100, 0.5, seed=1), run(200, 0.96, seed=1))
    )
    assert [(answer.size, answer.passed) for answer in cell.answers] == [(400, False), (200, True)]
    assert cell.largest_tried == 400
    assert cell.point() == {
        "facts": 32,
        "params_mean": None,
        "params_mean_passed": 200,
        "params_std": None,
        "replicates": 2,
        "censored": 1,
    }


def test_a_point_has_mean_and_sample_deviation_of_its_replicates() -> None:
    (cell,) = cells(frame(run(100, 1.0), run(300, 1.0, seed=1)))
    assert cell.point()["params_mean"] == cell.point()["params_mean_passed"] == 200
    assert cell.point()["params_std"] == pytest.approx(math.sqrt(2) * 100)


def test_a_diverged_trial_has_been_tried_and_does_not_pass() -> None:
    (cell,) = cells(
        frame(
            run(100, 0.99, state="diverged"),
            run(200, None, state="diverged"),
            run(300, 0.99, state="stopped"),
        )
    )
    assert (cell.answers[0].size, cell.answers[0].below) == (300, 200)


@pytest.mark.parametrize("state", ["queued", "running", "failed", "missing"])
def test_a_trial_without_a_result_says_nothing(state: str) -> None:
    assert cells(frame(run(100, 0.99, state=state))) == []


@pytest.mark.parametrize("recall", [None, math.nan])
def test_a_result_without_the_metric_says_nothing(recall: float | None) -> None:
    (cell,) = cells(frame(run(100, recall), run(50, 0.3)))
    assert [(answer.size, answer.passed, answer.tried) for answer in cell.answers] == [
        (50, False, 1)
    ]


def test_a_trial_of_two_experiments_counts_once() -> None:
    (cell,) = cells(frame(run(100, 0.99, digest="same"), run(100, 0.99, digest="same")))
    assert len(cell.answers) == 1
    assert cell.answers[0].tried == 1


def test_cells_come_by_recall_mode_and_facts() -> None:
    rows = [
        run(100, 1.0, **{"task.people": people, "task.recall": recall})
        for recall in ("in_weight", "in_tool")
        for people in (64, 8)
    ]
    assert [(cell.recall, cell.facts) for cell in cells(frame(*rows))] == [
        ("in_tool", 32),
        ("in_tool", 256),
        ("in_weight", 32),
        ("in_weight", 256),
    ]


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    with pytest.raises(
        UserError, match=r"no column `metrics.recal`; did you mean `metrics.recall`"
    ):
        cells(frame(run(100, 1.0)), metric="metrics.recal")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(1, 6),
            st.sampled_from([0.1, 0.94, 0.95, 1.0]),
            st.sampled_from(["done", "diverged"]),
        ),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_answers_follow_the_definition_in_any_order_of_rows(
    tried: list[tuple[int, int, float, str]], random: Any
) -> None:
    table = frame(
        *(run(size, recall, seed=seed, state=state) for seed, size, recall, state in tried)
    )
    (cell,) = cells(table)
    for answer in cell.answers:
        mine = [
            (size, recall >= 0.95 and state == "done")
            for seed, size, recall, state in tried
            if seed == answer.seed
        ]
        passing = [size for size, passes in mine if passes]
        assert answer.passed == bool(passing)
        assert answer.size == (min(passing) if passing else max(size for size, _ in mine))
        assert answer.below == max((size for size, _ in mine if size < answer.size), default=None)
    order = list(range(table.height))
    random.shuffle(order)
    assert cells(table[order]) == [cell]


def test_equal_seeds_of_two_experiments_are_two_replicates_unless_they_share_trials() -> None:
    ours, theirs = [{"experiment": "ours"}, {"experiment": "theirs"}]
    (cell,) = cells(
        frame(
            run(100, 0.5, **ours),
            run(200, 0.9, **ours),
            run(100, 0.1, **theirs),
            run(200, 0.99, **theirs),
        )
    )
    assert [(answer.size, answer.passed) for answer in cell.answers] == [(200, False), (200, True)]
    shared = run(200, 0.9, digest="same")
    (cell,) = cells(frame({**shared, **ours}, {**shared, **theirs}, run(400, 1.0, **theirs)))
    assert [(answer.size, answer.passed) for answer in cell.answers] == [(400, True)]
