"""Rollouts: which rows are held out, and how well they are predicted."""

from dataclasses import replace

import numpy as np
import pytest
from tests.fit.published import grid

from scalelab.core.errors import UserError
from scalelab.fit.holdout import hold_out
from scalelab.fit.law import Choices
from scalelab.fit.laws import find
from scalelab.fit.sample import sample

LAW, FRAME, CHOICES = find("chinchilla"), grid(noise=0.001), Choices(starts=20)
ROWS = sample(FRAME, LAW)


@pytest.mark.parametrize(
    ("rollout", "held"),
    [("largest_params", 4), ("largest_flops", 1), ("params.total >= 1e9 and tokens > 1e11", 2)],
)
def test_a_rollout_holds_out_and_predicts(rollout: str, held: int) -> None:
    found = hold_out(FRAME, LAW, CHOICES, ROWS, rollout)
    [fold] = found.folds
    assert (fold.actual_T.size, fold.rows) == (held, 24 - held)
    assert np.abs(fold.error_T).max() < 0.02
    assert found.error == pytest.approx(np.abs(fold.error_T).mean())
    assert fold.columns["N"].min() > 1e9


def test_an_expanding_rollout_predicts_every_next_size() -> None:
    found = hold_out(FRAME, LAW, CHOICES, ROWS, "expanding")
    assert [fold.rows for fold in found.folds] == [8, 12, 16, 20]
    assert [fold.columns["N"].max() > ROWS.columns["N"][:1].max() for fold in found.folds] == [
        True
    ] * 4
    plain = found.to_json()
    assert plain["folds"][0]["fitted_rows"] == 8
    assert set(plain["folds"][0]["held_out"][0]) == {
        "digest",
        "N",
        "D",
        "actual",
        "predicted",
        "relative_error",
    }


def test_a_law_without_sizes_has_no_rollout_by_size() -> None:
    law = replace(find("E + A*X^-alpha"), columns={"X": "budget.tokens"})
    with pytest.raises(UserError, match="no column for the rollout to go by; name the rows"):
        hold_out(FRAME, law, CHOICES, sample(FRAME, law), "largest_params")
