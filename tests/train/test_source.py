"""Batches of text and of sums: what is drawn is a pure function of the update's number, whatever
the micro-batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from scalelab.core.seeds import derive
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch
from scalelab.spec.experiment import Trial
from scalelab.tasks import open_batches
from scalelab.tasks.arithmetic.data import END, ArithmeticData
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.text.batches import TextBatches
from scalelab.tasks.text.objectives import examples
from scalelab.tasks.text.spec import Text

CPU = torch.device("cpu")
VOCAB, EOS, CONTEXT, BATCH = 11, 10, 8, 5
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("causal", {}),
    "apart": ("causal", {"documents": "apart"}),
    "prefix": ("prefix", {"objective": {"kind": "prefix"}}),
    "prefix_apart": ("prefix", {"objective": {"kind": "prefix"}, "documents": "apart"}),
    "masked": ("full", {"objective": {"kind": "masked", "share": 0.3}}),
    "masked_apart": ("full", {"objective": {"kind": "masked", "share": 0.3}, "documents": "apart"}),
    "one": ("full", {"objective": {"kind": "masked", "one": True}}),
}


@dataclass
class Corpus:
    """In the place of `TextData`: random tokens."""

    task: Text
    vocab: int = VOCAB
    eos: int = EOS
    seed: int = 0
    batch: int = 0

    @property
    def manifest(self) -> "Corpus":
        return self

    def stream(self, seed: int, batch: int) -> "Corpus":
        return Corpus(self.task, seed=seed % 2**31, batch=batch)

    def at(self, step: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng([self.seed, step]).integers(
            0, VOCAB, (self.batch, CONTEXT + 1), dtype=np.int32
        )


def trial(mask: str = "causal", task: dict[str, Any] | None = None, **changes: Any) -> Trial:
    data = {
        "task": {"kind": "text", "context": CONTEXT, **(task or {})},
        "model": {"mask": mask},
        "budget": {"steps": 1},
        "batch": BATCH,
    }
    return Trial.model_validate(data | changes)


def drawn(given: Trial, step: int, size: int) -> tuple[float, list[Batch]]:
    assert isinstance(given.task, Text)
    targets, batches = TextBatches(given, Corpus(given.task), CPU).draw(step, size)  # pyright: ignore[reportArgumentType]
    return targets.item(), list(batches)


def fields(batch: Batch) -> dict[str, torch.Tensor | None]:
    """The tensors of a batch and of its layout."""
    return {name: value for name, value in vars(batch).items() if name != "layout"} | vars(
        batch.layout
    )


def joined(batches: list[Batch], name: str) -> torch.Tensor | None:
    parts = [part for batch in batches if (part := fields(batch)[name]) is not None]
    return torch.cat(parts) if parts else None


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_micro_batches_split_every_field(mask: str, task: dict[str, Any]) -> None:
    targets, [whole] = drawn(trial(mask, task), 7, BATCH)
    again, parts = drawn(trial(mask, task), 7, 2)
    assert [len(part.tokens_BT) for part in parts] == [2, 2, 1]
    assert targets == again
    for name, expected in fields(whole).items():
        found = joined(parts, name)
        same = (
            torch.equal(expected, found)
            if expected is not None and found is not None
            else expected is found
        )
        assert same, name


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_a_batch_is_the_stream_under_its_objective(mask: str, task: dict[str, Any]) -> None:
    given = trial(mask, task)
    assert isinstance(given.task, Text)
    targets, [batch] = drawn(given, 3, BATCH)
    windows_BS = Corpus(given.task).stream(derive(0, "order"), BATCH).at(3)
    expected = examples(
        given.task, Corpus(given.task), windows_BS, np.arange(15, 20), derive(0, "objective")
    )
    for name, array in vars(expected).items():
        tensor = fields(batch)[name]
        assert (array is None) == (tensor is None)
        if tensor is not None:
            assert tensor.dtype == (torch.float32 if name == "weights_BM" else torch.int64)
            assert np.array_equal(tensor.numpy(), array)
    bears_loss = (
        batch.labels_BM.numel() if batch.weights_BM is None else batch.weights_BM.sum().item()
    )
    assert targets == bears_loss > 0


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_updates_and_seeds_draw_different_batches(mask: str, task: dict[str, Any]) -> None:
    _, [first] = drawn(trial(mask, task), 0, BATCH)
    for given, step in ((trial(mask, task), 1), (trial(mask, task, seed=1), 0)):
        _, [other] = drawn(given, step, BATCH)
        assert not torch.equal(first.tokens_BT, other.tokens_BT)
    _, [again] = drawn(trial(mask, task), 0, BATCH)
    assert torch.equal(first.tokens_BT, again.tokens_BT)


def test_causal_text_lists_no_targets() -> None:
    """Where every position bears loss the head runs block by block, and nothing is picked."""
    _, [batch] = drawn(trial(), 0, BATCH)
    assert batch.weights_BM is None
    assert batch.layout == Layout()


@pytest.mark.parametrize("operation", ["addition", "multiplication", "chain"])
def test_the_loss_of_a_problem_falls_on_its_answer(operation: str) -> None:
    task = Arithmetic.model_validate({"operation": operation, "length": 2, "longest": 2})
    given = Trial.model_validate(
        {"task": task.model_dump(), "budget": {"steps": 1}, "batch": BATCH}
    )
    targets, batches = open_batches(given, ArithmeticData(task), CPU).draw(4, 2)
    parts = list(batches)
    assert [len(part.tokens_BT) for part in parts] == [2, 2, 1]
    assert targets.item() == sum(
        part.weights_BM.sum().item() for part in parts if part.weights_BM is not None
    )
    texts = ArithmeticData(task).stream(derive(0, "order"), BATCH).at(4).texts()
    whole = {name: joined(parts, name) for name in ("tokens_BT", "labels_BM", "weights_BM")}
    whole["prefix_B"] = torch.cat([part.layout.prefix_B for part in parts])
    for row, text in enumerate(texts):
        tokens_T, labels_M, weights_M, given_1 = (
            part[row] for part in whole.values() if part is not None
        )
        question, answer = text.split("=")
        assert (
            bytes(tokens_T[: int(given_1)].tolist()).decode() == f"{question}="
        )  # what a prefix mask shows in both directions
        assert labels_M[weights_M > 0].tolist() == [*answer.encode(), END]
