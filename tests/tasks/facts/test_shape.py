"""The sizes of a task, counted without rendering, are those of the rendered dialogs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.tasks import build, describe
from scalelab.tasks.facts.dialogs import render
from scalelab.tasks.facts.people import cast
from scalelab.tasks.facts.pools import ATTRIBUTES
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import EOD, VOCAB

TASKS = st.builds(
    Facts,
    people=st.integers(1, 60),
    recall=st.sampled_from(["in_weight", "in_tool"]),
    templates=st.integers(1, 4),
    dependence=st.sampled_from([0.0, 0.5, 1.0]),
    world=st.integers(0, 3),
)


@given(TASKS)
@settings(max_examples=60)
def test_shape_is_that_of_the_rendered_rows(task: Facts) -> None:
    shape, rows = describe(task), build(task).rows()
    lengths = (rows.tokens_RT != EOD).sum(1) + 1
    assert shape.vocab == VOCAB
    assert shape.facts == shape.sequences == 4 * task.people
    assert rows.tokens_RT.shape == (shape.facts * task.templates, shape.context + 1)
    assert shape.targets == rows.weights_RM.sum(1).max() == rows.weights_RM.shape[1]
    assert shape.mean_tokens == pytest.approx(lengths.mean() - 1)
    assert lengths.max() <= shape.context + 1


@given(TASKS)
@settings(max_examples=40)
def test_the_window_is_the_tightest_for_every_dialog_that_may_be_asked_for(task: Facts) -> None:
    seen = cast(task, "seen")
    asked = [seen, cast(task, "unseen"), *([seen.permuted()] if task.recall == "in_tool" else [])]
    dialogs = [
        render(who, name, template, task.recall, 200)
        for who in asked
        for name in ATTRIBUTES
        for template in range(task.templates)
    ]
    longest = max(int((tokens != EOD).sum(1).max()) + 1 for tokens in dialogs)
    assert describe(task).context == longest - 1


def test_a_context_may_be_longer_but_never_cuts_a_dialog() -> None:
    longest = describe(Facts()).context + 1
    assert describe(Facts(context=longest)) == describe(Facts())
    wide = build(Facts(context=longest + 20))
    assert wide.shape.context == longest + 19
    assert np.array_equal(wide.rows().tokens_RT[:, :longest], build(Facts()).rows().tokens_RT)
    assert (wide.rows().tokens_RT[:, longest:] == EOD).all()
    for ask in (build, describe):
        with pytest.raises(UserError, match=f"context: {longest}`"):
            ask(Facts(context=longest - 1))


@pytest.mark.parametrize(("recall", "most"), [("in_weight", 75), ("in_tool", 150)])
def test_dialogs_are_short(recall: Any, most: int) -> None:
    """Training costs what the longest dialog costs."""
    assert describe(Facts(people=32_768, recall=recall)).context < most
