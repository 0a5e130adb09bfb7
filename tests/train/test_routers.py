"""Routers over layers through the training loop: every policy, FLOPs that are metered and spent,
checkpoints, micro-batches.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.prose import write_text

from scalelab.core.events import Ended, Event, Interrupted, Measured
from scalelab.core.metrics import is_speed
from scalelab.data.text.prepare import prepare
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.layout import Layout
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.tasks import describe
from scalelab.tasks.text.spec import Text
from scalelab.train import train
from scalelab.train.attempt import Attempt

CPU = Execution(device="cpu")
ARITHMETIC = {"kind": "arithmetic", "operation": "chain", "length": 2}

KINDS: dict[str, dict[str, Any]] = {
    "fixed": {"policy": "fixed"},
    "random": {"policy": "random"},
    "learned": {"policy": "learned"},
    "closed": {"policy": "closed", "router": {"kind": "mlp", "width": 8}},
    "open": {"router": {"kind": "gru", "width": 8}},
    "gumbel": {"selection": {"kind": "gumbel"}, "balance": {"bias": 0.01}},
    "soft": {"selection": {"kind": "soft"}},
    "reinforce": {"selection": {"kind": "reinforce", "rollouts": 2}},
    "act": {"halting": {"kind": "act"}, "policy": "fixed"},
    "ponder": {"halting": {"kind": "ponder"}},
    "threshold": {"halting": {"kind": "threshold", "threshold": 0.5}},
    "mean": {"loss": "mean", "top": 2},
    "cumulated": {"loss": "cumulated", "layer_dropout": 0.2},
    "sequence": {"granularity": "sequence", "selection": {"noise": 0.5}, "similarity": 0.01},
    "thrifty": {"selection": {"kind": "reinforce", "rollouts": 2}, "halting": {"kind": "act"}},
    "closed, soft": {"policy": "closed", "selection": {"kind": "soft"}, "layer_dropout": 0.5},
    "sequence, fixed": {
        "policy": "fixed",
        "granularity": "sequence",
        "halting": {"kind": "ponder"},
    },
}
EXACT = ("fixed", "soft", "closed, soft", "sequence, fixed")


def trial(kind: str, **changes: Any) -> Trial:
    model = {
        "kind": "layer_router",
        "layers": 2,
        "steps": 3,
        "identity": 1,
        "width": 8,
        "heads": 2,
        "mask": "causal",
    }
    data: dict[str, Any] = {
        "task": ARITHMETIC,
        "model": model | KINDS[kind],
        "budget": {"steps": 16},
        "batch": 12,
        "optim": {"lr": 2e-2, "schedule": {"warmup": 2}},
        "evaluation": {"first": 4, "ratio": 2},
    }
    made = Trial.model_validate(data | changes)
    return made.model_copy(update={"model": made.model.resolved()})


def run(
    given: Trial, execution: Execution = CPU, **options: Any
) -> tuple[list[tuple[int, dict[str, float]]], Ended]:
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a small text lies prepared."""
    path = tmp_path_factory.mktemp("text")
    task = Text.model_validate(
        {
            "kind": "text",
            "corpus": str(write_text(path / "small.txt")),
            "tokens": "bytes",
            "context": 16,
        }
    )
    prepare(task.corpus, task.tokens, str(path))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_arithmetic(kind: str) -> None:
    curve, ended = run(trial(kind))
    assert [step for step, _ in curve] == [4, 8, 16, 16]
    assert ended.state == "done"
    losses = [values["loss"] for _, values in curve[:-1]]
    assert losses[0] > losses[1] > losses[2]
    assert curve[2][1]["flops"] > 0
    assert ("steps_mean" in curve[0][1]) == ("halting" in KINDS[kind])


@pytest.mark.parametrize("kind", ["gumbel", "ponder", "sequence"])
def test_the_bytes_of_a_text_are_learned(kind: str, folder: Path) -> None:
    task = {"kind": "text", "corpus": str(folder / "small.txt"), "tokens": "bytes", "context": 16}
    curve, ended = run(trial(kind, task=task), Execution(device="cpu", data=str(folder)))
    assert curve[-2][1]["loss"] < curve[0][1]["loss"]
    assert ended.values["validation_loss"] > 0


@pytest.mark.parametrize("kind", ["gumbel", "soft", "reinforce", "threshold", "sequence"])
def test_an_interrupted_trial_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    whole, ended = run(trial(kind))
    with pytest.raises(Interrupted):
        train(trial(kind), CPU, folder=tmp_path, stopping=stop_after(14))
    rest, resumed = run(trial(kind), folder=tmp_path)
    assert rest == whole
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def updated(given: Trial, execution: Execution = CPU) -> Attempt:
    """After one update. (Random numbers come from the global generator: attempts take turns.)"""
    attempt = Attempt(given, execution, None, lambda: False)
    attempt.update()
    return attempt


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_make_the_same_update_as_the_batch(kind: str) -> None:
    whole, parts = (
        updated(trial(kind)),
        updated(trial(kind), Execution(device="cpu", micro_batch=5)),
    )
    torch.testing.assert_close(parts.meters.nats, whole.meters.nats, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        parts.meters.experts["load"], whole.meters.experts["load"], rtol=0, atol=0
    )
    for first, second in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_padding_costs_nothing_and_counts_nowhere() -> None:
    """Rows of an arithmetic task end in padding, about which no router should learn."""
    attempt = updated(trial("act", task={"kind": "arithmetic", "length": 1, "longest": 4}))
    rows = attempt.trial.batch
    assert 0 < float(attempt.meters.thought["thinkers"]) < rows * attempt.shape.context
    assert float(attempt.meters.experts["tokens"][0]) == float(attempt.meters.thought["thinkers"])


def test_dropped_features_and_drawn_routes_make_the_micro_batch_identity() -> None:
    assert not trial("gumbel").model.couples_batch
    dropping = {"kind": "layer_router", "embedding_dropout": 0.1}
    assert trial("gumbel", model={**dropping, **KINDS["gumbel"]}).model.couples_batch
    assert not trial("fixed", model={**dropping, **KINDS["fixed"]}).model.couples_batch


def test_flops_do_not_depend_on_how_a_batch_is_split() -> None:
    """Else the budget of a trial would depend on the machine."""
    whole, parts = (
        updated(trial("gumbel")),
        updated(trial("gumbel"), Execution(device="cpu", micro_batch=5)),
    )
    assert parts.flops == whole.flops


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_metered_lies_between_the_bounds_of_the_plan(kind: str) -> None:
    given = trial(kind)
    shape = describe(given.task)
    each = given.model.train_bounds(shape.vocab, shape.context, shape.targets) * given.batch
    assert each.is_exact == (kind in EXACT)
    attempt = updated(given)
    assert each.least <= attempt.flops <= each.most
    tokens_BT = torch.randint(
        shape.vocab, (3, shape.context), generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(attempt.model, LayerRouter)
    for at_BM in (None, torch.tensor([[1, 3]] * 3)):
        with torch.no_grad():
            reading = attempt.model.run_steps(tokens_BT, Layout(at_BM))
        asked = shape.context if at_BM is None else 2
        bounds = given.model.forward_bounds(shape.vocab, shape.context, asked) * 3
        assert bounds.least <= reading.flops <= bounds.most


def test_a_fixed_order_is_the_plain_transformer() -> None:
    plain = {"layers": 2, "width": 8, "heads": 2}
    curve, ended = run(trial("fixed", model=plain | {"kind": "layer_router", "policy": "fixed"}))
    expected, expected_end = run(trial("fixed", model=plain))
    for (step, values), (plain_step, plain_values) in zip(curve, expected, strict=True):
        assert step == plain_step
        assert {name: values[name] for name in plain_values} == pytest.approx(
            plain_values, rel=1e-6
        )
    assert ended.artifacts["weights_sha256"] == expected_end.artifacts["weights_sha256"]


def budget(kind: str, flops: int) -> Trial:
    return trial(kind, budget={"flops": flops})


def test_a_budget_of_flops_is_spent_by_what_is_run(tmp_path: Path) -> None:
    asked = 10 * updated(budget("act", 10**8)).flops
    whole, ended = run(budget("act", asked))
    last = whole[-2][1]
    shape = describe(trial("act").task)
    most = trial("act").model.train_bounds(shape.vocab, shape.context, shape.targets).most * 12
    assert ended.state == "done"
    assert asked <= last["flops"] < asked + most
    assert whole[-2][0] == whole[-1][0] == ended.step  # it is evaluated where it ends
    with pytest.raises(Interrupted):
        train(budget("act", asked), CPU, folder=tmp_path, stopping=stop_after(8))
    rest, resumed = run(budget("act", asked), folder=tmp_path)
    assert rest == whole
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def test_a_schedule_follows_the_share_that_is_spent() -> None:
    attempt = Attempt(budget("open", 10**8), CPU, None, lambda: False)
    shares: list[float] = []
    while not attempt.is_over:
        before = attempt.flops
        attempt.update()
        spent = before / 10**8
        assert attempt.step - 1 == pytest.approx(
            spent * attempt_promised(attempt, before), rel=1e-9
        )
        shares.append(attempt.optimizer._parts[0].param_groups[0]["lr"].item())
    assert attempt.step < attempt.steps
    assert shares[2] == pytest.approx(2e-2, rel=0.05)
    assert shares[-1] < 2e-3
    assert shares[3:] == sorted(shares[3:], reverse=True)


def attempt_promised(attempt: Attempt, flops: int) -> float:
    """Updates in all, as the attempt saw it before its last one."""
    return (attempt.step - 1) * 10**8 / flops if flops else 0.0


@pytest.mark.parametrize("kind", ["open", "ponder"])
def test_computing_again_in_the_backward_pass_changes_no_bit(kind: str) -> None:
    kept, again = run(trial(kind)), run(trial(kind), Execution(device="cpu", recompute=True))
    assert kept[0] == again[0]
    assert kept[1].artifacts["weights_sha256"] == again[1].artifacts["weights_sha256"]


@pytest.mark.parametrize("kind", ["open", "mean", "reinforce"])
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"optim": {"kind": "muon", "schedule": {"warmup": 2}}},
        {"optim": {"lr": 2e-2, "z_loss": 1e-3}},
    ],
    ids=["bf16", "muon", "z_loss"],
)
def test_they_train_by_every_means(kind: str, changes: dict[str, Any]) -> None:
    curve, ended = run(trial(kind, **changes), Execution(device="cpu", micro_batch="auto"))
    assert ended.state == "done"
    assert curve[-2][1]["loss"] < curve[0][1]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequence", "act"])
def test_they_train_compiled(kind: str) -> None:
    eager, compiled = (
        run(trial(kind), Execution(device="cpu", compile=compile))[0] for compile in (False, True)
    )
    assert compiled[0][1]["loss"] == pytest.approx(eager[0][1]["loss"], rel=0.05)
    assert compiled[-2][1]["loss"] < compiled[0][1]["loss"]
