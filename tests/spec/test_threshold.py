"""Thresholds: of some metrics more is better, of losses less."""

import pytest
from pydantic import ValidationError

from scalelab.search import Frontier
from scalelab.spec.evaluation import Stop


def test_a_loss_stops_from_above() -> None:
    stop = Stop.model_validate({"metric": "validation_loss", "at_most": 2})
    assert [stop.is_met(value) for value in (1.9, 2.0, 2.1, float("nan"))] == [
        True,
        True,
        False,
        False,
    ]


def test_a_recall_stops_from_below() -> None:
    assert [Stop().is_met(value) for value in (0.94, 0.95, float("nan"))] == [False, True, False]


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ({"metric": "validation_loss", "at_least": 2}, "less is better; write `at_most`"),
        ({"metric": "recall", "at_most": 2}, "more is better; write `at_least`"),
    ],
)
@pytest.mark.parametrize("kind", [Stop, Frontier])
def test_the_wrong_side_is_refused(
    kind: type[Stop] | type[Frontier], threshold: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        kind.model_validate(threshold)


def test_what_is_written_down_reads_back() -> None:
    stop = Stop.model_validate({"metric": "loss", "at_most": 2})
    assert Stop.model_validate(stop.model_dump()) == stop
