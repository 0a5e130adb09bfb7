"""What a spec may ask for is what trials report: tiny trials of every task and kind of model."""

from pathlib import Path
from typing import Any

import pytest

from scalelab.core.events import Event, Measured
from scalelab.core.metrics import POSITIONS, is_detail, is_known, is_speed
from scalelab.data.text.prepare import prepare
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.spec.reported import OF_MODELS, concluded, measured
from scalelab.tasks import describe
from scalelab.tasks.text.spec import Text
from scalelab.train import train

TASKS: dict[str, dict[str, Any]] = {
    "facts": {"kind": "facts", "people": 3},
    "facts, dependent": {"kind": "facts", "people": 3, "templates": 1, "dependence": 0.5},
    "facts, in tool": {"kind": "facts", "people": 3, "templates": 1, "recall": "in_tool"},
    "facts, of one person": {"kind": "facts", "people": 1, "recall": "in_tool"},
    "bioS": {"kind": "biography", "people": 3, "context": 128},
    "bioS, junk": {"kind": "biography", "people": 3, "context": 128, "junk": {"people": 9}},
    "bioS_simple": {
        "kind": "biography",
        "people": 3,
        "context": 128,
        "text": {"kind": "bioS_simple"},
    },
    "bioD": {
        "kind": "biography",
        "people": 3,
        "context": 128,
        "text": {"kind": "bioD", "attributes": 2, "diversity": 9, "alphabet": 9},
    },
    "addition": {"kind": "arithmetic", "length": 1, "longest": 2},
    "chain, none longer": {
        "kind": "arithmetic",
        "operation": "chain",
        "length": 2,
        "longest": 2,
    },
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "text": {},
    "text, apart": {"documents": "apart"},
    "text, prefix": {"objective": "prefix"},
    "text, masked": {"objective": "masked"},
    "text, tales": {"corpus": {"source": "tales", "tokens": "20k"}},
}
ROUTER = {"kind": "layer_router", "layers": 2, "width": 8, "heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"layers": 1, "width": 8, "heads": 2},
    "mixture": {
        "layers": 1,
        "width": 8,
        "heads": 2,
        "ffn": {"kind": "moe", "experts": 3, "chosen": 2},
    },
    "fixed": {**ROUTER, "policy": "fixed"},
    "router": ROUTER,
    "halting": {**ROUTER, "identity": 1, "halting": {"kind": "act"}},
    "lstm": {"kind": "lstm", "layers": 1, "width": 8},
}
MASKS = {"text, prefix": "prefix", "text, masked": "full"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "text.txt").write_text("so it goes, and so it went. " * 60)
    for source in (given(folder), OBJECTIVES["text, tales"]["corpus"]):
        text = Text.model_validate({"corpus": source})
        prepare(text.corpus, text.tokens, str(folder / "data"))
    return folder


def given(folder: Path) -> dict[str, Any]:
    return {"source": str(folder / "text.txt"), "validation": 0.2}


def reported(trial: Trial, data: Path) -> tuple[set[str], set[str]]:
    """Metrics of the evaluations and of the end, but for what the plan and the clock know and what
    is of one layer, expert or step.
    """
    events: list[Event] = []
    ended = train(trial, Execution(device="cpu", data=str(data)), emit=events.append)
    (values,) = [event.values for event in events if isinstance(event, Measured)]
    assert {name for name in (*values, *ended.values) if not is_known(name)} == set()
    first, last = (
        {
            name
            for name in found
            if name not in POSITIONS and not is_speed(name) and not is_detail(name)
        }
        for found in (values, ended.values)
    )
    return first, last


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", [*TASKS, *OBJECTIVES])
def test_what_may_be_asked_for_is_what_a_trial_reports(task: str, model: str, corpus: Path) -> None:
    if model == "lstm" and task in ("text, apart", *MASKS):
        pytest.skip("an LSTM reads one token after the other")
    text = {"kind": "text", "context": 16, "corpus": given(corpus), **OBJECTIVES.get(task, {})}
    mask = {"mask": MASKS[task]} if task in MASKS else {}
    made = Trial.model_validate(
        {
            "task": TASKS.get(task, text),
            "model": MODELS[model] | mask,
            "budget": {"steps": 1},
            "batch": 2,
        }
    )
    trial = made.model_copy(update={"model": made.model.resolved()})
    evaluated, ended = reported(trial, corpus / "data")
    assert evaluated == set(measured(trial))
    assert ended == set(concluded(trial))
    shape = describe(trial.task, str(corpus / "data"))
    assert (shape.used is not None) == trial.task.knows_used
    plain = Trial.model_validate({"task": {"kind": trial.task.kind}, "budget": {"steps": 1}})
    anywhere = {*concluded(plain), *plain.task.sometimes, *OF_MODELS}
    assert {name for name in ended if not name.startswith("accuracy_")} <= anywhere
