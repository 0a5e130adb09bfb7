"""What a search found, from stored trials."""

import math
from typing import Any

import pytest

from scalelab.core.events import State
from scalelab.optimize.result import SearchResult, is_search, search_result
from scalelab.store.records import Result, StoredTrial, TrialRecord

SPACE: dict[str, Any] = {
    "search": {
        "optim.lr": {"float": [1e-3, 1e-1], "log": True},
        "model.ffn": {"choice": [{"kind": "gelu"}, {"kind": "swiglu"}]},
    },
    "objectives": {"loss": "minimize"},
}


def trial(number: int, state: State = "done", task: str = "facts", **metrics: float) -> StoredTrial:
    record = TrialRecord(
        digest=f"{number:064}",
        identity={},
        trial={"task": {"kind": task}},
        axes={"optim.lr": 0.01 * number, "model.ffn": {"kind": "gelu"}, "seed": 3},
        replicate=0,
        seed=0,
        params={"total": 100 * number},
        steps=10,
        tokens=50,
        exposures=1.0,
        flops=600 * number,
    )
    return StoredTrial(record, Result(state, metrics))


def found(trials: list[StoredTrial], **objectives: str) -> SearchResult:
    return search_result("s", SPACE | {"objectives": objectives or {"loss": "minimize"}}, trials)


def test_only_trials_that_came_to_their_end_count() -> None:
    result = found(
        [
            trial(1, loss=3.0),
            trial(2, "stopped", loss=1.0, pruned=4.0),
            trial(3, "queued"),
            trial(4, "diverged", loss=math.nan),
            trial(5, "failed"),
            trial(6, "stopped", loss=2.0),
        ]
    )
    assert [one.number for one in result.tried] == [1, 2, 3, 4, 5]
    assert [one.digest[-1] for one in result.tried] == list("12456")
    assert [one.digest[-1] for one in result.ranked] == list("61")
    assert [one.pruned for one in result.tried] == [False, True, False, False, False]
    assert result.as_dict()["pruned"] == 1
    assert result.as_dict()["best"]["values"] == [2.0]


def test_settings_are_searched_paths_with_choices_as_words() -> None:
    (one,) = found([trial(2, loss=1.0)]).tried
    assert one.setting == {"optim.lr": 0.02, "model.ffn": "gelu"}
    assert found([trial(2, loss=1.0)]).on_log == {"optim.lr"}


def test_the_ends_of_one_objective_and_of_several() -> None:
    trials = [trial(1, loss=3.0), trial(2, loss=1.0), trial(3, loss=2.0)]
    ends = found(trials).ends
    assert {title: one.number for title, one in ends.items()} == {"best": 2, "worst": 1}
    assert list(found(trials[:1]).ends) == ["best"], "each trial once"
    several = found(trials, **{"loss": "minimize", "params.total": "minimize"})
    assert [one.number for one in several.front] == [2, 1]
    assert [one.number for one in several.ends.values()] == [2, 1]
    assert list(several.ends) == ["best loss", "best params.total"]


@pytest.mark.parametrize(
    ("objective", "values"), [("params.total", [100, 200]), ("flops", [600, 1200])]
)
def test_what_no_trial_measured_is_what_the_plan_knows(objective: str, values: list[float]) -> None:
    result = found([trial(1, loss=1.0), trial(2, loss=1.0)], **{objective: "minimize"})
    assert [one.values for one in result.tried] == [(value,) for value in values]
    measured = found([trial(1, flops=5.0), trial(2)], flops="minimize")
    assert measured.tried[0].values == (5.0,)
    assert math.isnan(measured.tried[1].values[0]), "it stopped before it was measured"


def test_tasks_say_what_a_metric_is_called() -> None:
    trials = [trial(1, task="arithmetic", accuracy=0.5)]
    assert found(trials, accuracy="maximize").labels == ["accuracy (mean over lengths)"]
    assert found([trial(1, accuracy=0.5)], accuracy="maximize").labels == ["accuracy"]


def test_a_plan_is_no_search() -> None:
    assert is_search(SPACE)
    assert not is_search({"search": {"kind": "grid"}})
