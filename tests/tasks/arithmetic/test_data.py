"""Arithmetic is true, what is tested is never trained on, lengths are even, and a step gives the
same on every machine.
"""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.tasks.arithmetic.data import END, ArithmeticData, Sums, describe
from scalelab.tasks.arithmetic.spec import Arithmetic

OPERATIONS = ["addition", "multiplication", "chain"]
tasks = st.builds(
    lambda operation, length, more, world, reversed: Arithmetic(
        operation=operation,
        length=length,
        longest=length + more,
        world=world,
        reversed=reversed and operation != "chain",
    ),
    st.sampled_from(OPERATIONS),
    st.one_of(st.integers(1, 6), st.integers(1, 40)),
    st.integers(0, 4),
    st.integers(0, 3),
    st.booleans(),
)


def data(**given: Any) -> ArithmeticData:
    return ArithmeticData(Arithmetic(**given))


def check(task: Arithmetic, text: str) -> int:
    """The length of a problem; fails where it is not true."""
    question, answer = text.split("=")
    said = int(answer[::-1] if task.reversed else answer)
    assert answer == (str(said)[::-1] if task.reversed else str(said)), "no number begins with 0"
    if task.operation == "chain":
        result = int(question[0])
        for sign, digit in re.findall(r"([-+*])(\d)", question[1:]):
            result = {"+": result + int(digit), "-": result - int(digit), "*": result * int(digit)}[
                sign
            ] % 10
        assert said == result
        assert re.fullmatch(r"\d([-+*]\d)+", question)
        return len(question) // 2
    a, b = re.split(r"[+*]", question)
    assert [a, b] == [str(int(a)), str(int(b))]
    assert said == (int(a) + int(b) if task.operation == "addition" else int(a) * int(b))
    return max(len(a), len(b))


def question(operation: str, text: str) -> frozenset[str] | str:
    """What is asked: the order of two numbers does not matter, that of a chain does."""
    asked = text.split("=")[0]
    return asked if operation == "chain" else frozenset(re.split(r"[+*]", asked))


@settings(max_examples=40)
@given(task=tasks, seed=st.integers(0, 1 << 70), step=st.integers(0, 10**9))
def test_every_problem_is_true_and_fits(task: Arithmetic, seed: int, step: int) -> None:
    found, shape = ArithmeticData(task), describe(task)
    for sums, lengths in (
        (found.stream(seed, 50).at(step), range(1, task.length + 1)),
        (found.questions(task.longest), [task.longest]),
    ):
        assert all(check(task, text) in lengths for text in sums.texts())
        assert sums.tokens_RS.shape[1] == shape.context + 1
        assert (sums.tokens_RS[:, -1] == END).all()
    assert found.stream(seed, 50).at(step).targets_RM.shape == (50, shape.targets)


@given(task=tasks)
@settings(max_examples=40)
def test_the_loss_falls_on_answers_and_their_end(task: Arithmetic) -> None:
    sums = ArithmeticData(task).stream(0, 20).at(0)
    for tokens, targets, weights, text in zip(
        sums.tokens_RS, sums.targets_RM, sums.weights_RM, sums.texts(), strict=True
    ):
        said = tokens[targets[weights > 0] + 1]
        assert said[-1] == END
        assert said[:-1].astype(np.uint8).tobytes().decode() == text.split("=")[1]
        assert not targets[weights == 0].any()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_what_is_asked_is_never_trained_on(operation: str, length: int) -> None:
    found = data(operation=operation, length=length, longest=3)
    trained = {
        question(operation, text)
        for step in range(4)
        for text in found.stream(step, 5_000).at(step).texts()
    }
    asked = {question(operation, text) for n in (1, 2, 3) for text in found.questions(n).texts()}
    assert len(asked) > 500
    assert not trained & asked
    if length == 1:
        assert len(trained) == (270 if operation == "chain" else 49), "all the others are"


@pytest.mark.parametrize("world", range(20))
def test_a_tenth_of_the_shortest_is_held_out_in_every_world(world: int) -> None:
    for operation, held in (("addition", 6), ("multiplication", 6), ("chain", 30)):
        asked = {
            question(operation, text)
            for text in data(operation=operation, world=world).questions(1).texts()
        }
        assert len(asked) == held


def test_questions_depend_on_the_operation_and_the_world_alone() -> None:
    base = data(length=3, longest=5)
    for other in (data(length=2, longest=9), data(length=5, longest=5, context=40)):
        assert base.questions(4).texts() == other.questions(4).texts()
    assert not set(base.questions(4).texts()) & set(data(world=1).questions(4).texts())
    assert [len(base.questions(n).tokens_RS) for n in (2, 3, 4, 5)] == [500] * 4
    assert len(set(base.questions(2).texts())) == 500
    reverse = [text.split("=") for text in data(reversed=True).questions(3).texts()]
    assert [f"{asked}={answer[::-1]}" for asked, answer in reverse] == base.questions(3).texts()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_lengths_are_even(operation: str) -> None:
    found = data(operation=operation, length=4, longest=4)
    texts = found.stream(0, 20_000).at(1).texts()
    counts = Counter(check(found.task, text) for text in texts)
    assert sorted(counts) == [1, 2, 3, 4]
    assert max(abs(count - 5_000) for count in counts.values()) < 5 * np.sqrt(20_000 * 3 / 16)
    if operation != "chain":
        first, second = np.array(
            [[len(part) for part in re.split(r"[+*]", text.split("=")[0])] for text in texts]
        ).T
        assert abs((first > second).mean() - (first < second).mean()) < 0.02
        shorter = Counter(np.minimum(first, second)[np.maximum(first, second) == 4].tolist())
        assert max(abs(count - counts[4] / 4) for count in shorter.values()) < 5 * np.sqrt(
            counts[4] * 3 / 16
        )


@settings(max_examples=40)
@given(
    task=tasks,
    seed=st.integers(0, 5),
    batch=st.integers(1, 40),
    steps=st.lists(st.integers(0, 50), min_size=1, max_size=4),
)
def test_the_stream_is_a_pure_function_of_the_step(
    task: Arithmetic, seed: int, batch: int, steps: list[int]
) -> None:
    stream = ArithmeticData(task).stream(seed, batch)
    whole = ArithmeticData(task).stream(seed, batch * 51).at(0)
    for step in steps:
        some = stream.at(step)
        for name, array in vars(some).items():
            assert np.array_equal(array, getattr(whole, name)[step * batch : (step + 1) * batch])


GOLDEN = {
    ("addition", False): "a3794ae325739d8f",
    ("addition", True): "cddf91fde705704e",
    ("multiplication", False): "3075750ffc87725a",
    ("chain", False): "601335741ea6fcf5",
}


@pytest.mark.parametrize(("operation", "reversed"), GOLDEN)
def test_the_problems_are_these_on_every_machine(operation: str, reversed: bool) -> None:
    found = data(operation=operation, reversed=reversed, length=7, longest=9)
    written = b"".join(
        digest(sums)
        for sums in (found.stream(7, 300).at(11), found.questions(1), found.questions(9))
    )
    assert hashlib.sha256(written).hexdigest()[:16] == GOLDEN[operation, reversed]


def digest(sums: Sums) -> bytes:
    return (
        sums.tokens_RS.astype("<u2").tobytes()
        + sums.targets_RM.astype("<i8").tobytes()
        + sums.weights_RM.astype("<f4").tobytes()
    )


def test_seeds_differ_and_little_comes_twice() -> None:
    found = data(length=12, longest=12)
    one, other = (found.stream(seed, 2_000).at(0).texts() for seed in (0, 1))
    long = [text for text in one + other if len(text) > 20]
    assert len(set(long)) == len(long) > 1_500


@pytest.mark.parametrize(
    ("given", "context", "targets", "sequences"),
    [
        ({}, 18, 5, 0.9e6),  # 99999+99999=199998 and an end
        (
            {"operation": "multiplication", "length": 2, "longest": 2},
            10,
            5,
            0.9e4,
        ),  # 99*99=9801 and an end
        (
            {"operation": "chain", "length": 2, "longest": 3},
            9,
            2,
            0.9 * 9_300,
        ),  # 1+2*3-4=5 and an end
        ({"context": 30}, 29, 5, 0.9e6),
        ({"length": 100, "longest": 100}, 303, 102, 0.9e200),
    ],
)
def test_shapes(given: dict[str, Any], context: int, targets: int, sequences: float) -> None:
    shape = data(**given).shape
    assert (shape.vocab, shape.context, shape.targets) == (257, context, targets)
    assert shape.sequences == pytest.approx(sequences)
    sums = data(**given).stream(3, 4_000).at(2)
    mean = (
        (sums.tokens_RS != END).sum(1).mean()
    )  # the positions of a row: its tokens with the end, less the last
    assert shape.mean_tokens == pytest.approx(mean, rel=0.03)
    assert shape.used == len(np.unique(sums.tokens_RS))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"context": 18},
            (
                "a context of 18 tokens cuts the longest problem; take `task.context: 19` or more,"
                " or leave it out"
            ),
        ),
        (
            {"operation": "chain", "reversed": True},
            "one digit, which can't be reversed; leave `task.reversed` out",
        ),
        ({"longest": 101}, "a `longest` of 101 is too long; take at most 100"),
    ],
)
def test_what_cannot_be_is_an_error_with_a_cure(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(fault)):
        data(**given)
