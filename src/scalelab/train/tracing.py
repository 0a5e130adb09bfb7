"""What would break a compiled trial's graphs, or compile them again.

A graph break leaves compiled code half-way and costs its speed; a recompile in the middle of a run
costs a minute. With static shapes there is neither. `examine` runs the real update, evaluation and
decoding of a trial, with a handful of sequences, and tells what there is. Both are matters of
tracing, so it compiles with a backend that stops there, in seconds.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import (
    clear_compilation_metrics,
    get_compilation_metrics,
    graph_break_reasons,
)

from scalelab.evaluate.mode import evaluating
from scalelab.families.layout import Layout
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import micro_batch
from scalelab.train.attempt import Attempt
from scalelab.train.compiling import compile_evaluation, compiled, compiled_loss, is_compiled

Phase = Literal["train", "eval", "decode"]

TRACED = {"fullgraph": False, "backend": "aot_eager"}
"""Trace everything, the backward pass too, and generate no code."""

LANES, PROMPT, REPLY = 2, 4, 4
"""What is decoded: lanes, tokens that are read at once, and tokens that follow one by one."""


@dataclass(frozen=True)
class Fault:
    """One graph break, one compilation after warm-up, or one phase that does not run compiled at
    all.
    """

    phase: Phase
    kind: Literal["graph break", "recompile", "failure"]
    where: str
    """`file:line` of the code that breaks the graph, or of the function that is compiled again."""
    reason: str

    def as_dict(self) -> dict[str, str]:
        """The fault for `--json`."""
        return asdict(self)


def examine(trial: Trial, execution: Execution) -> list[Fault]:
    """Every fault of a trial, phase by phase; none is as it should be.

    The first pass through all phases is the warm-up.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of itself while it traces
        return _examine(trial, execution)


def _examine(trial: Trial, execution: Execution) -> list[Fault]:
    execution = execution.model_copy(update={"compile": True, "micro_batch": None})
    if not is_compiled(trial.model, execution):
        return []
    attempt = Attempt(small(trial, execution), execution, None, lambda: False)
    attempt.size = min(2, attempt.trial.batch)
    attempt.loss_of = compiled_loss(attempt.model, **TRACED)
    compile_evaluation(attempt.model, **TRACED)
    phases: dict[Phase, Callable[[], object]] = {
        "train": attempt.update,
        "eval": lambda: attempt.test.quick(attempt.model),
    }
    if trial.model.is_autoregressive:
        phases["decode"] = _decoding(attempt)
    faults = [fault for phase, run in phases.items() for fault in _warm_up(phase, run)]
    broken = {fault.phase for fault in faults if fault.kind == "failure"}
    for phase, run in phases.items():
        faults += [] if phase in broken else _recompiles(phase, run)
    return list(dict.fromkeys(faults))


def small(trial: Trial, execution: Execution) -> Trial:
    """The trial with a handful of sequences in an update: one micro-batch, several alike, or a
    smaller last one, as it has now.
    """
    size = micro_batch.settled(trial, execution.model_copy(update={"compile": True})) or trial.batch
    batch = 2 if size == trial.batch else 4 if trial.batch % size == 0 else 3
    return trial.model_copy(update={"batch": min(batch, trial.batch), "micro_batch": None})


def _decoding(attempt: Attempt) -> Callable[[], None]:
    model, device = attempt.model, attempt.device
    decode: Callable[..., Any] = model.decode  # each family takes its own cache
    decode = decode if model.config.compiles == "layers" else compiled(decode, **TRACED)
    tokens_BT = torch.zeros(
        LANES, min(PROMPT, attempt.shape.context), dtype=torch.int64, device=device
    )
    length = min(PROMPT + REPLY, attempt.shape.context)

    @torch.inference_mode()
    def run() -> None:
        start_B, cache = (
            torch.zeros(LANES, dtype=torch.int64, device=device),
            model.new_cache(LANES, length),
        )
        with (
            evaluating(model),
            torch.autocast(device.type, torch.bfloat16, enabled=attempt.trial.precision == "bf16"),
        ):
            decode(tokens_BT, cache)
            for position in range(tokens_BT.shape[1], length):
                decode(tokens_BT[:, :1], cache, Layout(start_B=start_B + position))

    return run


def _warm_up(phase: Phase, run: Callable[[], object]) -> list[Fault]:
    """Graph breaks of the first pass; or why there is no pass."""
    graph_break_reasons.clear()
    try:
        run()
    except (RuntimeError, TorchDynamoException) as error:
        return [Fault(phase, "failure", "", _sentence(str(error)))]
    breaks = [reason for reason in graph_break_reasons if reason.graph_break]
    return [
        Fault(phase, "graph break", _place(reason.user_stack), _sentence(reason.reason))
        for reason in breaks
    ]


def _recompiles(phase: Phase, run: Callable[[], object]) -> list[Fault]:
    """What is compiled in two more passes."""
    clear_compilation_metrics()
    for _ in range(2):
        run()
    seen = [one for one in get_compilation_metrics() if one.co_name is not None]
    reasons = [_sentence(one.recompile_reason or "not compiled before") for one in seen]
    return [
        Fault(phase, "recompile", f"{one.co_filename}:{one.co_firstlineno}", reason)
        for one, reason in zip(seen, reasons, strict=True)
    ]


def _place(stack: Any) -> str:
    return f"{stack[-1].filename}:{stack[-1].lineno}" if stack else ""


def _sentence(reason: str) -> str:
    """The first line of what torch says, with the explanation that it may give on the second."""
    lines = [line.strip() for line in reason.strip().splitlines()[:2]]
    return " ".join(lines if len(lines) > 1 and lines[1].startswith("Explanation") else lines[:1])
