"""The loop: same bits every time, also when killed half-way; early stop, divergence, accumulation, checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.core.events import Ended, Event, Interrupted, Measured, Started
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import checkpoint, train
from scalelab.train.attempt import SPEED

CPU = Execution(device="cpu")


def trial(**changes: Any) -> Trial:
    data: dict[str, Any] = {
        "task": {"people": 4, "templates": 1},
        "model": {"width": 8},
        "budget": {"steps": 40},
        "batch": 16,
        "optim": {"lr": 1e-2},
        "evaluation": {"first": 10, "ratio": 2},
    }
    made = Trial.model_validate(data | changes)
    return made.model_copy(update={"model": made.model.resolved()})


def run(given: Trial, execution: Execution = CPU, **options: Any) -> tuple[list[Event], Ended]:
    events: list[Event] = []
    return events, train(given, execution, emit=events.append, **options)


def numbers(events: list[Event]) -> list[tuple[int, dict[str, float]]]:
    """What two equal runs agree on: every metric but the speeds."""
    return [
        (event.step, {name: value for name, value in event.values.items() if name not in SPEED})
        for event in events
        if isinstance(event, Measured | Ended)
    ]


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_a_trial_tells_its_start_its_metrics_and_its_end() -> None:
    events, ended = run(trial())
    assert isinstance(events[0], Started)
    assert events[-1] is ended
    assert [event.step for event in events if isinstance(event, Measured)] == [10, 20, 40]
    assert ended.state == "done"
    assert ended.step == 40
    assert {"recall", "chance", "bits", "tokens", "exposures", "seconds", "tokens_per_second", "flops_per_second"} <= ended.values.keys()
    assert ended.values["exposures"] == 40 * 16 / 16


def test_the_same_trial_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = (run(trial(seed=seed)) for seed in (0, 0, 1))
    assert numbers(first[0]) == numbers(again[0])
    assert first[1].artifacts["weights_sha256"] == again[1].artifacts["weights_sha256"] != other[1].artifacts["weights_sha256"]


@pytest.mark.parametrize("after", [1, 14, 20, 39])
def test_a_killed_trial_goes_on_and_ends_with_the_same_bits(tmp_path: Path, after: int) -> None:
    whole, ended = run(trial())
    before: list[Event] = []
    with pytest.raises(Interrupted):
        train(trial(), CPU, folder=tmp_path, emit=before.append, stopping=stop_after(after - 1))
    rest, resumed = run(trial(), folder=tmp_path)
    assert isinstance(rest[0], Started)
    assert rest[0].resumed == after
    assert numbers(before) + numbers(rest) == numbers(whole)
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_trial_that_dies_after_its_checkpoint_repeats_what_came_since(tmp_path: Path) -> None:
    whole, ended = run(trial())

    def die(event: Event) -> None:
        if isinstance(event, Measured) and event.step == 20:
            raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        train(trial(), CPU.model_copy(update={"checkpoint_every": 1e-9}), folder=tmp_path, emit=die)
    rest, resumed = run(trial(), folder=tmp_path)
    assert isinstance(rest[0], Started)
    assert rest[0].resumed == 19
    assert numbers(rest) == [(step, values) for step, values in numbers(whole) if step > 19]
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def test_a_half_written_checkpoint_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt.part").write_bytes(b"half")
    events, _ = run(trial(), folder=tmp_path)
    assert isinstance(events[0], Started)
    assert events[0].resumed == 0


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    class Sly:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("run",))

    torch.save({"step": Sly()}, tmp_path / checkpoint.CHECKPOINT)
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(str(tmp_path), checkpoint.CHECKPOINT, torch.device("cpu"))


def test_early_stop_needs_the_threshold_in_a_row() -> None:
    stop = {"metric": "loss", "at_least": 0.0, "patience": 2}  # any loss is enough: stops at the second evaluation
    events, ended = run(trial(evaluation={"first": 10, "ratio": 2, "stop": stop}))
    assert (ended.state, ended.step) == ("stopped", 20)
    assert "recall" in ended.values
    assert len([event for event in events if isinstance(event, Measured)]) == 2


def test_a_loss_that_explodes_is_a_result() -> None:
    wild = {"lr": 1e30, "clip": None, "schedule": {"kind": "constant", "warmup": 0}}
    _, ended = run(trial(optim=wild, budget={"steps": 200}))
    assert ended.state == "diverged"
    assert ended.step < 200
    assert "recall" not in ended.values


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, _ = run(trial())
    parts, _ = run(trial(), Execution(device="cpu", micro_batch=5))
    # Sums in another order round otherwise, and Adam lets that grow: the first updates tell.
    losses = [[values["loss"] for _, values in numbers(events)[:2]] for events in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_bf16_and_fp32_train_to_about_the_same_loss() -> None:
    full, _ = run(trial())
    half, _ = run(trial(precision="bf16"))
    assert numbers(full)[-2][1]["loss"] == pytest.approx(numbers(half)[-2][1]["loss"], rel=0.02)
    assert numbers(full) != numbers(half)


@pytest.mark.slow
def test_compiled_training_agrees_with_eager() -> None:
    eager, _ = run(trial())
    compiled, _ = run(trial(), Execution(device="cpu", compile=True))
    losses = [[values["loss"] for _, values in numbers(events)[:2]] for events in (eager, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_in_weight_facts_are_learned() -> None:
    """The smallest end-to-end truth: sixteen facts are recalled, far above chance."""
    learning = trial(
        model={"width": 16}, budget={"steps": 400}, batch=32, optim={"lr": 1e-2}, evaluation={"first": 100, "ratio": 1.5, "stop": {}}
    )
    _, ended = run(learning)
    assert ended.values["recall"] >= 0.95
    assert ended.values["chance"] < 0.05
