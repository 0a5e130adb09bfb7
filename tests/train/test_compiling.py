"""torch.compile: a trial's graphs hold, and what breaks them is found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.families.transformer.model import Transformer
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import train
from scalelab.train.compiling import compiled
from scalelab.train.tracing import Fault, examine, small

CPU = Execution(device="cpu")
HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled before or after."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def trial(**changes: Any) -> Trial:
    data: dict[str, Any] = {
        "task": {"people": 2, "templates": 1},
        "model": {"width": 8, "layers": 1},
        "budget": {"steps": 4},
        "batch": 4,
    }
    made = Trial.model_validate(data | changes)
    return made.model_copy(update={"model": made.model.resolved()})


def faults(of: Trial, kind: str) -> dict[str, Fault]:
    """Phase -> the last fault of that kind."""
    return {fault.phase: fault for fault in examine(of, CPU) if fault.kind == kind}


def test_a_trial_trains_is_evaluated_and_decodes_without_a_fault() -> None:
    assert examine(trial(), CPU) == []


def test_an_lstm_is_not_compiled() -> None:
    """It is fast without, and its graph would hold every position."""
    given = trial(model={"kind": "lstm", "width": 8})
    assert examine(given, CPU) == []
    ended, plain = (
        train(given, CPU.model_copy(update={"compile": compiles})) for compiles in (True, False)
    )
    assert ended.artifacts == plain.artifacts


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"optim": {"kind": "muon", "z_loss": 1e-4}},
        {"task": {"kind": "biography", "people": 4, "context": 128}},
        {
            "model": {
                "width": 8,
                "ffn": {"kind": "moe", "experts": 4, "balance": {"bias": 1e-3, "loss": 1e-2}},
            }
        },
        {"model": {"width": 8, "ffn": {"kind": "moe", "experts": 4}}, "precision": "bf16"},
        {
            "model": {
                "width": 8,
                "kv_heads": 1,
                "qk_norm": True,
                "value_embeddings": True,
                "logit_softcap": 5.0,
                "mup": 8,
            }
        },
        {"model": {"width": 8, "window": 4, "global_every": 2}},
        {"model": {"width": 8, "mask": "prefix"}},
    ],
    ids=["bf16", "muon", "biography", "moe", "moe_bf16", "tricks", "window", "prefix"],
)
def test_every_kind_of_trial_compiles_without_a_fault(changes: dict[str, Any]) -> None:
    assert examine(trial(**changes), CPU) == []


def test_a_planted_graph_break_is_found_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Transformer.head

    def chatty(self: Transformer, x: Tensor) -> Tensor:
        print(end="")
        return head(self, x)

    monkeypatch.setattr(Transformer, "head", chatty)
    found = faults(trial(), "graph break")
    assert {"train", "decode"} <= found.keys()
    assert HERE in found["train"].where
    assert found["train"].where.rpartition(":")[2] == str(chatty.__code__.co_firstlineno + 1)
    assert "print" in found["train"].reason


def test_a_planted_recompile_is_found_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Transformer.head
    calls = {"number": 0}

    def counting(self: Transformer, x: Tensor) -> Tensor:
        calls["number"] += 1
        return head(self, x) * calls["number"]

    monkeypatch.setattr(Transformer, "head", counting)
    found = faults(trial(), "recompile")
    assert "train" in found
    assert "number" in found["train"].reason


def test_what_does_not_run_compiled_is_a_failure_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Transformer, x: Tensor) -> Tensor:
        raise RuntimeError("no such kernel\nand a long story")

    monkeypatch.setattr(Transformer, "head", fail)
    assert "no such kernel" in faults(trial(), "failure")["train"].reason


@pytest.mark.parametrize(
    ("batch", "asked", "sizes"),
    [(64, None, [2]), (64, 16, [2, 2]), (65, 16, [2, 2]), (7, 2, [2, 2])],
    ids=["one", "two", "odd", "prime"],
)
def test_a_small_trial_has_the_pattern_of_the_large_one(
    batch: int, asked: int | None, sizes: list[int]
) -> None:
    made = small(trial(batch=batch), Execution(micro_batch=asked))
    assert [len(part) for part in torch.zeros(made.batch).split(2)] == sizes


def test_a_coupled_trial_keeps_its_smaller_last_micro_batch() -> None:
    coupled = trial(
        batch=10,
        micro_batch=4,
        model={"width": 8, "ffn": {"kind": "moe", "experts": 4, "balance": {"loss": 0.1}}},
    )
    assert small(coupled, CPU).batch == 3


def test_one_process_compiles_many_models() -> None:
    for width in range(
        1, 12
    ):  # torch's cache holds eight of one function, and the ninth would be an error
        layer = torch.nn.Linear(width, 1)
        assert compiled(_apply, backend="eager")(layer, torch.zeros(2, width)).shape == (2, 1)


def _apply(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return layer(x)
