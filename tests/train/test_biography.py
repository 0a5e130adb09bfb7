"""Training on biographies: windows of which every position bears loss, from a stream that goes on
where it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scalelab.core.events import Ended, Event, Interrupted, Measured
from scalelab.core.metrics import is_speed
from scalelab.families import build as build_model
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, summed_loss
from scalelab.layers.cross_entropy import cross_entropy
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.tasks import build, describe, open_batches
from scalelab.tasks.biography.spec import Biography
from scalelab.tasks.facts.spec import Facts
from scalelab.train import train
from scalelab.train.attempt import Attempt

CPU = Execution(device="cpu")
TASK = {"kind": "biography", "people": 12, "context": 128, "text": {"templates": 2}}


def trial(**changes: Any) -> Trial:
    data: dict[str, Any] = {
        "task": TASK,
        "model": {"width": 8, "layers": 1, "tied": True},
        "budget": {"steps": 12},
        "batch": 3,
        "optim": {"lr": 1e-2},
        "evaluation": {"first": 4, "ratio": 2},
    }
    made = Trial.model_validate(data | changes)
    return made.model_copy(update={"model": made.model.resolved()})


def run(
    given: Trial, execution: Execution = CPU, **options: Any
) -> tuple[list[tuple[int, dict[str, float]]], Ended]:
    """What two equal runs agree on, and the end."""
    events: list[Event] = []
    ended = train(given, execution, emit=events.append, **options)
    told = [event for event in events if isinstance(event, Measured | Ended)]
    return [
        (event.step, {name: value for name, value in event.values.items() if not is_speed(name)})
        for event in told
    ], ended


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_a_trial_tells_what_it_has_learned() -> None:
    numbers, ended = run(trial())
    assert [step for step, _ in numbers] == [4, 8, 12, 12]
    shape = describe(trial().task)
    assert set(Biography().concludes) <= ended.values.keys()
    assert {"bits", "bits_max", "share", "bits_per_param", "recall", "loss"} <= numbers[0][1].keys()
    assert ended.values["exposures"] == pytest.approx(12 * 3 / shape.sequences)
    assert ended.values["tokens"] == 12 * 3 * 127
    assert ended.values["bits"] < 0 < ended.values["bits_max"]
    assert ended.values["loss"] == numbers[-2][1]["loss"]


@pytest.mark.parametrize(
    "task",
    [TASK, TASK | {"junk": {"useful": 0.5, "people": 1000, "domain_token": True}}],
    ids=["plain", "junk"],
)
@pytest.mark.parametrize("calls", [1, 7])
def test_an_interrupted_trial_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, task: dict[str, Any], calls: int
) -> None:
    whole, ended = run(trial(task=task))
    with pytest.raises(Interrupted):
        train(trial(task=task), CPU, folder=tmp_path, stopping=stop_after(calls))
    rest, resumed = run(trial(task=task), folder=tmp_path)
    assert rest == whole
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]
    assert (
        run(trial(task=task, seed=1))[1].artifacts["weights_sha256"]
        != ended.artifacts["weights_sha256"]
    )


def test_every_token_of_the_stream_is_predicted_once() -> None:
    source = open_batches(trial(), build(trial().task), torch.device("cpu"))
    targets, batches = source.draw(5, 2)
    parts = list(batches)
    assert [len(batch.tokens_BT) for batch in parts] == [2, 1]
    assert targets.item() == 3 * 127 == sum(batch.labels_BM.numel() for batch in parts)
    read = torch.cat([batch.tokens_BT for batch in parts]).flatten()
    labels = torch.cat([batch.labels_BM for batch in parts]).flatten()
    assert torch.equal(read[1:], labels[:-1])  # a window begins with the last one's last token
    _, [after] = source.draw(6, 3)
    assert after.tokens_BT[0, 0] == labels[-1]


def test_a_loss_everywhere_is_the_loss_at_every_position() -> None:
    given = trial()
    shape = describe(given.task)
    model = build_model(given.model, shape.vocab, shape.context).initialise(0)
    _, [batch] = open_batches(given, build(given.task), torch.device("cpu")).draw(0, 3)
    everywhere = torch.arange(127).expand(3, -1)
    picked = Batch(batch.tokens_BT, batch.labels_BM, torch.ones(3, 127), Layout(everywhere))
    nats = cross_entropy(model(batch.tokens_BT).flatten(0, 1), batch.labels_BM.flatten()).sum()
    torch.testing.assert_close(summed_loss(model, batch).nats, nats)
    torch.testing.assert_close(summed_loss(model, batch).nats, summed_loss(model, picked).nats)


def test_the_planned_flops_are_those_of_an_update() -> None:
    given = trial(model={"width": 8, "layers": 2, "tied": True})
    shape = describe(given.task)
    assert shape.targets == shape.context
    with torch.device("meta"):
        model = build_model(given.model, shape.vocab, shape.context)
        tokens_BT = torch.zeros(3, shape.context, dtype=torch.long)
    with FlopCounterMode(display=False) as counted:
        summed_loss(model, Batch(tokens_BT, tokens_BT)).nats.backward()
    attempt = Attempt(given, CPU, None, lambda: False)
    attempt.update()
    assert counted.get_total_flops() == attempt.final("diverged")["flops"]


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = run(trial())[0], run(trial(), Execution(device="cpu", micro_batch=2))[0]
    assert parts[0][1]["loss"] == pytest.approx(whole[0][1]["loss"], rel=1e-5)


def test_a_stop_may_watch_the_bits() -> None:
    stop = {"metric": "bits", "at_least": -1e9, "patience": 2}
    numbers, ended = run(trial(evaluation={"first": 4, "ratio": 2, "stop": stop}))
    assert (ended.state, ended.step) == ("stopped", 8)
    assert ended.values["loss"] == numbers[-2][1]["loss"]


def test_a_trial_of_facts_ends_with_its_loss_too() -> None:
    numbers, ended = run(trial(task=Facts(people=4, templates=1).model_dump()))
    assert ended.values["loss"] == numbers[-2][1]["loss"]


@pytest.mark.slow
def test_compiled_training_agrees_with_eager() -> None:
    eager, compiled = run(trial())[0], run(trial(), Execution(device="cpu", compile=True))[0]
    assert compiled[0][1]["loss"] == pytest.approx(eager[0][1]["loss"], rel=1e-4)


def test_biographies_are_learned_by_heart() -> None:
    """The smallest end-to-end truth: a dozen people whose bits are learned, and no more than there
    are.
    """
    task = {"kind": "biography", "people": 8, "context": 128, "text": {"templates": 1}}
    learning = {
        "model": {"width": 16, "layers": 1, "tied": True},
        "batch": 1,
        "optim": {"lr": 2e-2},
        "evaluation": {"first": 700},
    }
    _, ended = run(trial(task=task, budget={"steps": 700}, **learning))
    assert 0.9 < ended.values["share"] <= 1
    assert ended.values["recall"] > 0.9
