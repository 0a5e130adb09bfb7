"""Objectives: what of a window is shown and what is predicted, held against the loop that says it
in words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn_by
from hypothesis import settings
from hypothesis import strategies as some

from scalelab.tasks.text.objectives import Examples, alone, documents, examples, given, targets
from scalelab.tasks.text.spec import Masked, Prefix, Text

EOS, CONTEXT = 7, 12


@dataclass(frozen=True)
class Seven:
    """Tokens 0 to 6 and the end of a document; the mask token is 8."""

    vocab: int = EOS + 1
    eos: int = EOS


def windows(count: int = 40, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, EOS + 1, (count, CONTEXT + 1), dtype=np.int32)


def seen(windows_BS: np.ndarray[Any, Any], first: int = 0, seed: int = 3, **task: Any) -> Examples:
    made = Text.model_validate({"context": CONTEXT, **task})
    return examples(made, Seven(), windows_BS, np.arange(first, first + len(windows_BS)), seed)


OBJECTIVES = {
    "causal": {"kind": "causal"},
    "prefix": {"kind": "prefix", "share": 0.7},
    "masked": {"kind": "masked", "share": 0.3},
    "one": {"kind": "masked", "one": True, "hide": 1, "corrupt": 0},
}


def test_a_causal_window_predicts_every_token_from_the_one_before() -> None:
    tokens_BS = windows()
    found = seen(tokens_BS)
    assert found.targets_BM is found.weights_BM is found.prefix_B is found.document_BT is None
    assert np.array_equal(found.tokens_BT, tokens_BS[:, :-1])
    assert np.array_equal(found.labels_BM, tokens_BS[:, 1:])
    assert found.targets == 40 * CONTEXT


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
@pytest.mark.parametrize("apart", ["joined", "apart"])
def test_a_window_does_not_depend_on_its_neighbours(objective: dict[str, Any], apart: str) -> None:
    tokens_BS = windows()
    whole = seen(tokens_BS, objective=objective, documents=apart)
    part = seen(tokens_BS[10:13], first=10, objective=objective, documents=apart)
    for name, array in vars(whole).items():
        other = getattr(part, name)
        assert (
            np.array_equal(array[10:13], other)
            if array is not None and other is not None
            else array is other
        ), name
    moved = seen(tokens_BS[10:13], first=11, objective=objective, documents=apart)
    reseeded = seen(tokens_BS[10:13], first=10, seed=4, objective=objective, documents=apart)
    if objective["kind"] != "causal":
        assert any(
            not np.array_equal(array, getattr(moved, name))
            for name, array in vars(part).items()
            if array is not None
        )
        assert any(
            not np.array_equal(array, getattr(reseeded, name))
            for name, array in vars(part).items()
            if array is not None
        )


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_the_plan_knows_how_many_positions_bear_loss(objective: dict[str, Any]) -> None:
    task = Text.model_validate({"context": CONTEXT, "objective": objective})
    assert seen(windows(), objective=objective).labels_BM.shape[1] == targets(task)


@drawn_by(
    some.lists(some.integers(0, EOS), min_size=CONTEXT + 1, max_size=CONTEXT + 1),
    some.sampled_from(list(OBJECTIVES.values())),
)
@settings(max_examples=60, deadline=None)
def test_documents_apart_are_those_of_a_walk_over_the_tokens(
    tokens: list[int], objective: dict[str, Any]
) -> None:
    found = seen(np.array([tokens], dtype=np.int32), objective=objective, documents="apart")
    document, expected = 0, []
    for token in tokens[:-1]:
        expected.append(document)
        document += token == EOS
    assert found.document_BT is not None
    assert found.document_BT[0].tolist() == expected
    if objective["kind"] == "masked":
        assert found.weights_BM is None
        return
    assert found.weights_BM is not None
    begins = 0 if found.prefix_B is None else found.prefix_B[0] - 1
    # The token after an end of document is the first of another one, and not predicted.
    assert found.weights_BM[0].tolist() == [
        float(at >= begins and tokens[at] != EOS) for at in range(CONTEXT)
    ]
    assert found.targets == found.weights_BM.sum()


def test_a_document_holds_its_own_end() -> None:
    assert documents(np.array([[1, EOS, EOS, 2, 3, EOS, 4]]), EOS).tolist() == [
        [0, 0, 1, 2, 2, 2, 3]
    ]


def test_the_given_part_is_uniform_up_to_its_share() -> None:
    given_B = given(Prefix(share=0.5), CONTEXT, np.arange(60_000), 1)
    assert set(given_B.tolist()) == set(range(1, 7))
    assert np.bincount(given_B)[1:] == pytest.approx(np.full(6, 10_000), rel=0.05)
    assert set(given(Prefix(share=0.01), CONTEXT, np.arange(100), 1).tolist()) == {1}


def test_a_prefix_window_predicts_what_is_not_given() -> None:
    tokens_BS = windows()
    found = seen(tokens_BS, objective={"kind": "prefix", "share": 0.7})
    assert found.prefix_B is not None
    assert found.weights_BM is not None
    assert found.targets_BM is None
    for row, prefix in enumerate(found.prefix_B.tolist()):
        predicted = found.labels_BM[row][found.weights_BM[row] > 0]
        assert predicted.tolist() == tokens_BS[row, prefix:].tolist()


def test_hidden_tokens_are_shown_corrupted_and_kept_by_their_shares() -> None:
    tokens_BS = windows(20_000)
    found = seen(
        tokens_BS, objective={"kind": "masked", "share": 0.25, "hide": 0.6, "corrupt": 0.3}
    )
    assert found.targets_BM is not None
    assert found.weights_BM is None
    assert found.targets_BM.shape == (20_000, 3) == found.labels_BM.shape
    assert (np.diff(found.targets_BM, axis=1) > 0).all()
    assert np.bincount(found.targets_BM.ravel(), minlength=CONTEXT) == pytest.approx(
        np.full(CONTEXT, 5000), rel=0.06
    )
    clean_BT = tokens_BS[:, :-1]
    assert np.array_equal(np.take_along_axis(clean_BT, found.targets_BM, 1), found.labels_BM)
    shown_BM = np.take_along_axis(found.tokens_BT, found.targets_BM, 1)
    untouched_BT = np.ones(clean_BT.shape, bool)
    np.put_along_axis(untouched_BT, found.targets_BM, False, axis=1)
    assert np.array_equal(found.tokens_BT[untouched_BT], clean_BT[untouched_BT])
    assert (shown_BM == Seven().vocab).mean() == pytest.approx(0.6, abs=0.01)
    # A random token is the right one in one case of eight.
    changed_BM = (shown_BM != found.labels_BM) & (shown_BM != Seven().vocab)
    assert changed_BM.mean() == pytest.approx(0.3 * 7 / 8, abs=0.01)
    assert np.bincount(shown_BM[changed_BM], minlength=8) == pytest.approx(
        np.full(8, changed_BM.sum() / 8), rel=0.1
    )


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.15, 2), (0.5, 6), (0.99, 12)])
def test_a_share_of_the_positions_is_predicted(share: float, count: int) -> None:
    found = seen(windows(), objective={"kind": "masked", "share": share, "hide": 1, "corrupt": 0})
    assert ((found.tokens_BT == Seven().vocab).sum(1) == count).all()


def test_hiding_everything_or_nothing_is_exact() -> None:
    kept = seen(windows(), objective={"kind": "masked", "share": 0.5, "hide": 0, "corrupt": 0})
    assert np.array_equal(kept.tokens_BT, windows()[:, :-1])


def test_one_token_of_a_window_is_hidden_at_a_time() -> None:
    tokens_BS, position_B = windows(12), np.arange(12)
    task = Text(context=CONTEXT, objective=Masked(), documents="apart")
    found = alone(task, Seven(), tokens_BS, position_B)
    assert found.tokens_BT.diagonal().tolist() == [Seven().vocab] * 12
    assert found.labels_BM[:, 0].tolist() == tokens_BS.diagonal().tolist()
    assert found.targets_BM is not None
    assert found.targets_BM[:, 0].tolist() == list(range(12))
    assert (found.tokens_BT != tokens_BS[:, :-1]).sum() == 12
    assert found.document_BT is not None
    assert np.array_equal(found.document_BT, documents(tokens_BS[:, :-1], EOS))
