"""What holds for every task."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.tasks.variants import TALES, TASKS

from scalelab.core.events import Interrupted
from scalelab.core.metrics import find, is_known
from scalelab.data.spec import Bytes
from scalelab.data.text.prepare import prepare
from scalelab.families import build as build_model
from scalelab.families.objective import Batch
from scalelab.families.transformer.spec import Transformer
from scalelab.spec.budget import Budget
from scalelab.spec.experiment import Trial
from scalelab.tasks import Task, build, describe, open_batches, open_test, vocabulary
from scalelab.tasks.task import TaskData

BATCH = 6
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(TALES, Bytes(), str(folder))
    return folder


@pytest.fixture(params=TASKS.values(), ids=TASKS.keys())
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.fixture
def data(task: Task, folder: Path) -> TaskData:
    return build(task, str(folder))


@pytest.fixture
def trial(task: Task) -> Trial:
    objective = getattr(task, "objective", None)
    mask = {"prefix": "prefix", "masked": "full"}.get(getattr(objective, "kind", ""), "causal")
    model = Transformer(layers=1, width=8, mask=mask).resolved()
    return Trial(task=task, model=model, budget=Budget(steps=4), batch=BATCH)


def drawn(trial: Trial, data: TaskData, step: int, size: int) -> tuple[float, list[Batch]]:
    targets, batches = open_batches(trial, data, CPU).draw(step, size)
    return targets.item(), list(batches)


def tensors(batches: list[Batch]) -> Iterator[torch.Tensor]:
    for batch in batches:
        parts = [batch.tokens_BT, batch.labels_BM, batch.weights_BM, *vars(batch.layout).values()]
        yield from (part for part in parts if part is not None)


def test_it_is_described_as_it_is_built(task: Task, data: TaskData, folder: Path) -> None:
    assert describe(task, str(folder)) == data.shape
    assert data.task == task


def test_what_follows_from_the_data_is_written_down_once(
    task: Task, data: TaskData, folder: Path
) -> None:
    settled = task.settled(data.shape)
    assert settled.settled(data.shape) == settled
    assert describe(settled, str(folder)) == data.shape


def test_batches_are_a_pure_function_of_the_update(trial: Trial, data: TaskData) -> None:
    first, again = (drawn(trial, data, 3, BATCH) for _ in range(2))
    for one, other in zip(tensors(first[1]), tensors(again[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    _, later = drawn(trial, data, 4, BATCH)
    assert not torch.equal(later[0].tokens_BT, first[1][0].tokens_BT)


def test_micro_batches_are_the_batch_in_parts(trial: Trial, data: TaskData) -> None:
    whole, parts = drawn(trial, data, 1, BATCH), drawn(trial, data, 1, 4)
    assert whole[0] == parts[0]
    assert [len(part.tokens_BT) for part in parts[1]] == [4, 2]
    joined = torch.cat([part.tokens_BT for part in parts[1]])
    torch.testing.assert_close(joined, whole[1][0].tokens_BT, rtol=0, atol=0)


def test_batches_fit_the_shape(trial: Trial, data: TaskData) -> None:
    targets, [batch] = drawn(trial, data, 0, BATCH)
    shape = data.shape
    assert batch.tokens_BT.shape == (BATCH, shape.context)
    assert 0 <= int(batch.tokens_BT.min()) <= int(batch.tokens_BT.max()) < shape.vocab
    assert 0 <= int(batch.labels_BM.min()) <= int(batch.labels_BM.max()) < shape.vocab
    weights = torch.ones(batch.labels_BM.shape) if batch.weights_BM is None else batch.weights_BM
    assert targets == weights.sum().item()
    assert batch.labels_BM.shape[1] <= shape.targets
    if batch.layout.targets_BM is not None and trial.model.is_autoregressive:
        following = torch.cat([batch.tokens_BT, torch.zeros(BATCH, 1, dtype=torch.long)], 1)
        expected = following.gather(1, batch.layout.targets_BM + 1)
        inside = (weights > 0) & (batch.layout.targets_BM < shape.context - 1)
        assert torch.equal(expected[inside], batch.labels_BM[inside])


def test_it_reports_the_metrics_that_it_names(trial: Trial, data: TaskData) -> None:
    """The loss is measured in training."""
    model = build_model(trial.model, data.shape.vocab, data.shape.context).initialise(0)
    test = open_test(trial, data, CPU, lambda: False)
    task = trial.task
    assert set(task.measures) - {"loss"} == set(test.quick(model))
    named = {*task.concludes, *task.sometimes}
    found = set(test.full(model))
    assert set(task.concludes) - {"loss"} <= found
    assert found <= named | {name for name in found if name.startswith("accuracy_")}
    assert isinstance(test.notes(model), dict)


def test_its_labels_are_of_metrics_that_it_reports(trial: Trial):
    task = trial.task
    assert set(task.labels) <= {*task.measures, *task.concludes, *task.sometimes}
    assert bool(task.labels) <= bool(task.averages)


def test_its_metrics_are_in_the_catalogue(task: Task) -> None:
    names = {*task.measures, *task.concludes, *task.sometimes, task.main_metric}
    assert {name for name in names if not is_known(name)} == set()
    known = find(task.main_metric)
    assert known is not None
    assert known.better is not None


def test_an_evaluation_can_be_interrupted(trial: Trial, data: TaskData) -> None:
    model = build_model(trial.model, data.shape.vocab, data.shape.context).initialise(0)
    with pytest.raises(Interrupted):
        open_test(trial, data, CPU, lambda: True).full(model)


def test_its_vocabulary_speaks_its_tokens(data: TaskData) -> None:
    words = vocabulary(data)
    ids = words.encode(words.example())
    assert ids
    assert 0 <= min(ids) <= max(ids) < data.shape.vocab
    assert isinstance(words.decode(ids), str)
    assert all(0 <= end < data.shape.vocab for end in words.ends)


def test_questions_have_answers(data: TaskData) -> None:
    words = vocabulary(data)
    for question, answer in data.questions_with_answers():
        assert words.decode(words.encode(question) + words.encode(answer)) == question + answer
