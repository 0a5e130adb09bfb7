"""What an LSTM can be asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from scalelab.spec.experiment import Trial


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            {"objective": {"kind": "prefix"}},
            "and `task.objective.kind` is `prefix`; take the causal objective, or another model",
        ),
        (
            {"objective": {"kind": "masked"}},
            "and `task.objective.kind` is `masked`; take the causal objective, or another model",
        ),
        (
            {"documents": "apart"},
            (
                "state is not reset between documents, and `task.documents` is `apart`; take"
                " `joined`, or another model"
            ),
        ),
    ],
)
def test_it_reads_one_token_after_the_other(task: dict[str, Any], words: str):
    given = {"task": {"kind": "text", **task}, "model": {"kind": "lstm"}, "budget": {"steps": 1}}
    with pytest.raises(ValidationError, match="an LSTM") as error:
        Trial.model_validate(given)
    assert words in str(error.value)


@pytest.mark.parametrize("task", [{"kind": "text"}, {"kind": "arithmetic"}, {"kind": "facts"}])
def test_every_causal_task_fits(task: dict[str, str]):
    assert (
        Trial.model_validate(
            {"task": task, "model": {"kind": "lstm"}, "budget": {"steps": 1}}
        ).model.kind
        == "lstm"
    )
