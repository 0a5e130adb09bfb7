"""A mixture of experts through the training loop: accumulation, loss-free balancing, metrics,
checkpoints.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Event, Interrupted, Measured
from scalelab.core.metrics import is_speed
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import train
from scalelab.train.attempt import Attempt

LAYERS, EXPERTS = 2, 4
CPU = Execution(device="cpu")


def trial(balance: dict[str, Any] | None = None, **changes: Any) -> Trial:
    ffn = {
        "kind": "moe",
        "experts": EXPERTS,
        "chosen": 2,
        "balance": {"bias": 0.01} if balance is None else balance,
    }
    data: dict[str, Any] = {
        "task": {"people": 4, "templates": 1},
        "model": {"width": 8, "layers": LAYERS, "ffn": ffn},
        "budget": {"steps": 20},
        "batch": 12,
        "optim": {"lr": 1e-2},
        "evaluation": {"first": 5, "ratio": 2},
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


def test_every_evaluation_tells_how_the_experts_were_used() -> None:
    curve, ended = run(trial())
    layers, experts = range(LAYERS), range(EXPERTS)
    for _, values in curve[:-1]:
        for layer in layers:
            assert sum(values[f"load_{layer}_{expert}"] for expert in experts) == pytest.approx(1)
            summed = max(values[f"load_{layer}_{expert}"] for expert in experts) * EXPERTS - 1
            assert (
                summed - 1e-9 <= values[f"max_vio_{layer}"] <= EXPERTS - 1
            )  # of single updates: as uneven as their sum at least
            assert 0 <= values[f"router_entropy_{layer}"] <= 1.4
            assert values[f"dropped_{layer}"] == 0
        for name in ("max_vio", "router_entropy", "dropped"):
            assert values[name] == pytest.approx(
                sum(values[f"{name}_{layer}"] for layer in layers) / LAYERS
            )
    assert {"max_vio", "router_entropy", "dropped"} <= ended.values.keys()


@pytest.mark.parametrize("optim", [{"lr": 1e-2}, {"kind": "muon"}], ids=["adamw", "muon"])
def test_an_interrupted_trial_ends_with_the_same_bits(
    tmp_path: Path, optim: dict[str, Any]
) -> None:
    whole, ended = run(trial(optim=optim))
    left = iter(range(8))
    with pytest.raises(Interrupted):
        train(trial(optim=optim), CPU, folder=tmp_path, stopping=lambda: next(left, None) is None)
    rest, resumed = run(trial(optim=optim), folder=tmp_path)
    assert rest == whole
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


def attempts(given: Trial, *executions: Execution) -> list[Attempt]:
    return [Attempt(given, execution, None, lambda: False) for execution in executions]


def biases(attempt: Attempt) -> torch.Tensor:
    return torch.stack(
        [buffer for name, buffer in attempt.model.named_buffers() if name.endswith("bias_E")]
    )


@pytest.mark.parametrize(
    "balance",
    [
        {"bias": 0.01},
        {"loss": 0.1, "per": "sequence"},
        {"z_loss": 0.1},
        {"bias": 0.01, "loss": 0.1, "per": "sequence"},
    ],
)
def test_micro_batches_make_the_same_update_as_the_batch(balance: dict[str, Any]) -> None:
    whole, parts = attempts(trial(balance), CPU, Execution(device="cpu", micro_batch=5))
    for attempt in (whole, parts):
        attempt.update()
    torch.testing.assert_close(
        parts.meters.experts["load"], whole.meters.experts["load"], rtol=0, atol=0
    )
    torch.testing.assert_close(biases(parts), biases(whole), rtol=0, atol=0)
    assert (biases(whole) != 0).any() == ("bias" in balance)
    torch.testing.assert_close(parts.meters.nats, whole.meters.nats)
    for first, second in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


def test_the_bias_moves_by_its_rate_against_the_load_of_the_whole_update() -> None:
    (attempt,) = attempts(trial(), Execution(device="cpu", micro_batch=5))
    attempt.update()
    load_LE = attempt.meters.experts["load"]
    expected = 0.01 * torch.sign(load_LE.mean(1, keepdim=True) - load_LE)
    torch.testing.assert_close(biases(attempt), expected.float())


def test_where_the_loss_couples_the_batch_the_micro_batch_is_the_trials() -> None:
    coupled = {"loss": 0.1, "per": "batch"}
    whole, parts = run(trial(coupled))[1], run(trial(coupled, micro_batch=4))[1]
    assert whole.artifacts["weights_sha256"] != parts.artifacts["weights_sha256"]
    with pytest.raises(UserError, match="balanced over a micro-batch"):
        run(trial(coupled), Execution(device="cpu", micro_batch=4))


def test_computing_again_in_the_backward_pass_changes_no_bit() -> None:
    kept, again = run(trial()), run(trial(), Execution(device="cpu", recompute=True))
    assert kept[0] == again[0]  # no token is counted twice
    assert kept[1].artifacts["weights_sha256"] == again[1].artifacts["weights_sha256"]


def test_a_router_that_is_no_number_ends_the_trial() -> None:
    (attempt,) = attempts(trial(), CPU)
    attempt.update()
    assert attempt.is_finite()
    with torch.no_grad():
        next(weight for name, weight in attempt.model.named_parameters() if "router" in name).fill_(
            float("nan")
        )
    assert not attempt.is_finite()


def test_a_bias_that_is_no_number_ends_the_trial() -> None:
    (attempt,) = attempts(trial(), CPU)
    next(buffer for name, buffer in attempt.model.named_buffers() if name.endswith("bias_E")).fill_(
        float("nan")
    )
    assert not attempt.is_finite()
