"""The loop: same bits every time, also when killed half-way; early stop, divergence, accumulation,
checkpoints.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.core.events import Advanced, Ended, Event, Interrupted, Measured, Noted, Started
from scalelab.core.metrics import is_speed
from scalelab.families.objective import summed_loss
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.tasks.facts.evaluate import RecallTest
from scalelab.train import checkpoint, loop, micro_batch, train
from scalelab.train.attempt import Attempt

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
        (event.step, {name: value for name, value in event.values.items() if not is_speed(name)})
        for event in events
        if isinstance(event, Measured | Ended)
    ]


def test_how_far_it_is_is_told_in_between_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet, _ = run(trial())
    monkeypatch.setattr(loop, "TELL_EVERY_S", 0.0)
    events, _ = run(trial())
    told = [event for event in events if isinstance(event, Advanced)]
    assert told == [Advanced(step, step / 40) for step in range(1, 41)]
    assert not [event for event in quiet if isinstance(event, Advanced)]
    assert numbers(events) == numbers(quiet)
    assert events[-1].artifacts == quiet[-1].artifacts  # pyright: ignore[reportAttributeAccessIssue]
    events, _ = run(trial(budget={"flops": "30M"}))
    shares = [event.share for event in events if isinstance(event, Advanced)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


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
    assert {
        "recall",
        "chance",
        "bits",
        "tokens",
        "exposures",
        "seconds",
        "tokens_per_second",
        "flops_per_second",
    } <= ended.values.keys()
    assert ended.values["exposures"] == 40 * 16 / 16


def test_the_same_trial_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = (run(trial(seed=seed)) for seed in (0, 0, 1))
    assert numbers(first[0]) == numbers(again[0])
    assert (
        first[1].artifacts["weights_sha256"]
        == again[1].artifacts["weights_sha256"]
        != other[1].artifacts["weights_sha256"]
    )


@pytest.mark.parametrize(("calls", "step"), [(0, 0), (1, 1), (9, 9)])
def test_an_interrupted_trial_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, calls: int, step: int
) -> None:
    whole, ended = run(trial())
    with pytest.raises(Interrupted):
        train(trial(), CPU, folder=tmp_path, stopping=stop_after(calls))
    rest, resumed = run(trial(), folder=tmp_path)
    assert isinstance(rest[0], Started)
    assert rest[0].resumed == step
    assert numbers(rest) == numbers(whole)
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize(("name", "nth"), [("quick", 1), ("quick", 2), ("full", 1)])
def test_an_evaluation_stops_half_way_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nth: int, passes: bool
) -> None:
    stop = (
        {"metric": "bits_per_fact", "at_least": -1e9} if passes else None
    )  # any model passes, at the second evaluation
    given = trial(evaluation={"first": 10, "ratio": 2, "stop": stop})
    whole, ended = run(given)
    begun, evaluate = list[int](), getattr(RecallTest, name)

    def begin(self: RecallTest, model: Any) -> dict[str, float]:
        begun.append(1)
        values = evaluate(self, model)
        assert len(begun) < nth, "it was asked to stop, and went on to its end"
        return values

    before: list[Event] = []
    with monkeypatch.context() as patched:
        patched.setattr(RecallTest, name, begin)
        with pytest.raises(Interrupted):
            train(
                given, CPU, folder=tmp_path, emit=before.append, stopping=lambda: len(begun) == nth
            )
    rest, resumed = run(given, folder=tmp_path)
    assert numbers(before) == numbers(whole)[: len(numbers(before))]
    assert isinstance(rest[0], Started)
    assert rest[0].resumed == (ended.step if name == "full" else 10 * nth)
    assert numbers(rest) == numbers(whole)
    assert (
        (resumed.state, resumed.step)
        == (ended.state, ended.step)
        == (("stopped", 20) if passes else ("done", 40))
    )
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


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
    assert [event.step for event in rest if isinstance(event, Measured)] == [
        10,
        20,
        40,
    ]  # the last news may have been lost
    assert numbers(rest) == numbers(whole)
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def test_a_half_written_checkpoint_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt.part").write_bytes(b"half")
    events, _ = run(trial(), folder=tmp_path)
    assert isinstance(events[0], Started)
    assert events[0].resumed == 0


def damage(content: dict[str, Any], how: str) -> dict[str, Any]:
    """The content of a checkpoint, without what goes by that name."""
    if how == "groups":  # found only after the weights were loaded
        return content | {
            "optimizer": [part | {"param_groups": []} for part in content["optimizer"]]
        }
    if how == "weights":
        return content | {"model": {name: weight[:1] for name, weight in content["model"].items()}}
    return {name: value for name, value in content.items() if name != how}


@pytest.mark.parametrize(
    "how", ["empty", "garbage", "truncated", "rng", "curve", "weights", "groups"]
)
def test_a_broken_checkpoint_is_set_aside_and_the_trial_begins_anew(
    tmp_path: Path, how: str
) -> None:
    whole, ended = run(trial())
    with pytest.raises(Interrupted):
        train(trial(), CPU, folder=tmp_path, stopping=stop_after(15))
    path = tmp_path / checkpoint.CHECKPOINT
    if how in ("empty", "garbage", "truncated"):
        path.write_bytes(
            {"empty": b"", "garbage": b"no checkpoint", "truncated": path.read_bytes()[:-2000]}[how]
        )
    else:
        content = checkpoint.load(str(tmp_path), path.name, trial().digest(), torch.device("cpu"))
        assert content is not None
        path.unlink()
        name = checkpoint.enter(str(tmp_path))
        checkpoint.save(str(tmp_path), trial().digest(), name, damage(content, how))
    broken = path.read_bytes()
    again, anew = run(trial(), folder=tmp_path)
    assert isinstance(again[0], Started)
    assert again[0].resumed == 0
    assert numbers(again) == numbers(whole)
    assert anew.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]
    assert (tmp_path / "checkpoint.pt.broken").read_bytes() == broken
    assert [event for event in again if isinstance(event, Noted)]
    assert not path.exists()


def test_a_damaged_checkpoint_goes_on_from_the_one_before(tmp_path: Path) -> None:
    whole, _ = run(trial())
    for steps in (10, 15):
        with pytest.raises(Interrupted):
            train(trial(), CPU, folder=tmp_path, stopping=stop_after(steps))
    newest = tmp_path / checkpoint.CHECKPOINT
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    again, _ = run(trial(), folder=tmp_path)
    assert isinstance(again[0], Started)
    assert again[0].resumed == 10
    [note] = [event for event in again if isinstance(event, Noted)]
    assert "checkpoint.pt.broken" in note.text
    assert numbers(again) == numbers(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt.broken", "model.pt"]


def test_the_checkpoint_of_another_trial_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(trial(seed=7), CPU, folder=tmp_path, stopping=stop_after(15))
    whole, _ = run(trial())
    again, _ = run(trial(), folder=tmp_path)
    assert numbers(again) == numbers(whole)
    assert (tmp_path / "checkpoint.pt.broken").exists()


@pytest.mark.parametrize(
    "fault", [OSError("no route to host"), torch.OutOfMemoryError("the GPU is full"), MemoryError()]
)
def test_a_checkpoint_is_not_to_blame_for_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise fault

    path = tmp_path / checkpoint.CHECKPOINT
    path.write_bytes(b"whole, for all we know")
    monkeypatch.setattr(checkpoint, "load", fail)
    with pytest.raises(type(fault)):
        run(trial(), folder=tmp_path)
    assert path.exists()


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[list[str]] = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: names.append(
            [path.name for path in tmp_path.iterdir() if path.stat().st_size]
        ),
    )
    name = checkpoint.enter(str(tmp_path))
    names.clear()
    checkpoint.save(str(tmp_path), "00", name, {"step": 1})
    assert [sorted(found) for found in names] == [["attempt", f"checkpoint.pt.{name}.part"]]
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", "checkpoint.pt"}


def test_a_loss_summed_over_a_long_time_keeps_its_digits() -> None:
    short, long = (Attempt(trial(), CPU, None, lambda: False) for _ in range(2))
    long.meters.nats += 2.0**27  # in fp32 the next number is 16 away
    for attempt in (short, long):
        attempt.update()
    assert (long.meters.nats - 2.0**27).item() == pytest.approx(short.meters.nats.item(), rel=1e-6)


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    class Sly:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("run",))

    checkpoint.save(str(tmp_path), "00", checkpoint.enter(str(tmp_path)), {"step": Sly()})
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(str(tmp_path), checkpoint.CHECKPOINT, "00", torch.device("cpu"))


def test_early_stop_needs_the_threshold_in_a_row() -> None:
    stop = {
        "metric": "bits_per_fact",
        "at_least": -1e9,
        "patience": 2,
    }  # any model is enough: stops at the second evaluation
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


def test_a_found_micro_batch_is_recorded_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = trial(batch=4, budget={"steps": 20})
    auto = Execution(device="cpu", micro_batch="auto")
    whole, _ = run(short, auto)
    assert isinstance(whole[0], Started)
    assert whole[0].numerics["micro_batch"] == 4
    assert numbers(whole) == numbers(run(short)[0])
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: 0)
    parts, _ = run(short, auto)
    assert isinstance(parts[0], Started)
    assert parts[0].numerics["micro_batch"] == 1
    with pytest.raises(Interrupted):
        train(short, auto, folder=tmp_path, stopping=stop_after(15))
    monkeypatch.undo()
    rest, _ = run(short, auto, folder=tmp_path)
    assert isinstance(rest[0], Started)
    assert rest[0].numerics["micro_batch"] == 1
    assert numbers(rest) == numbers(parts)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_computing_again_in_the_backward_pass_changes_no_bit(precision: str) -> None:
    kept, first = run(trial(precision=precision))
    again, second = run(trial(precision=precision), Execution(device="cpu", recompute=True))
    assert numbers(kept) == numbers(again)
    assert first.artifacts["weights_sha256"] == second.artifacts["weights_sha256"]


def test_the_share_of_the_peak_is_that_of_the_updates_alone(tmp_path: Path) -> None:
    often = CPU.model_copy(update={"checkpoint_every": 1e-9})
    _, ended = run(trial(evaluation={"first": 1, "ratio": 1.1}), often, folder=tmp_path)
    attempt = Attempt(trial(), CPU, None, lambda: False)
    overall = ended.values["flops_per_second"] / attempt.pace.peak
    assert 1.2 * overall < ended.values["mfu"] < 1


def test_muon_learns(tmp_path: Path) -> None:
    events, ended = run(trial(optim={"kind": "muon"}, budget={"steps": 80}))
    losses = [values["loss"] for _, values in numbers(events)]
    assert losses[-1] < losses[0] - 0.5
    with pytest.raises(Interrupted):
        train(
            trial(optim={"kind": "muon"}, budget={"steps": 80}),
            CPU,
            folder=tmp_path,
            stopping=stop_after(30),
        )
    rest, resumed = run(trial(optim={"kind": "muon"}, budget={"steps": 80}), folder=tmp_path)
    assert numbers(rest) == numbers(events)
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def test_a_z_loss_pulls_the_partition_to_one() -> None:
    sizes = []
    for coefficient in (0.0, 1.0):
        optim = {"lr": 1e-2, "z_loss": coefficient, "schedule": {"kind": "constant", "warmup": 0}}
        attempt = Attempt(trial(optim=optim), CPU, None, lambda: False)
        for _ in range(40):
            attempt.update()
        _, batches = attempt.source.draw(0, 16)
        sizes.append(summed_loss(attempt.model, next(iter(batches)), z_loss=True).z.item())
    assert sizes[1] < sizes[0] / 2


@pytest.mark.slow
def test_compiled_training_agrees_with_eager() -> None:
    eager, _ = run(trial())
    compiled, _ = run(trial(), Execution(device="cpu", compile=True))
    losses = [[values["loss"] for _, values in numbers(events)[:2]] for events in (eager, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_in_weight_facts_are_learned() -> None:
    """The smallest end-to-end truth: sixteen facts are recalled, far above chance."""
    learning = trial(
        model={"width": 16},
        budget={"steps": 400},
        batch=32,
        optim={"lr": 1e-2},
        evaluation={"first": 100, "ratio": 1.5, "stop": {}},
    )
    _, ended = run(learning)
    assert ended.values["recall"] >= 0.95
    assert ended.values["chance"] < 0.05
