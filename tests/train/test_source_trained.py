"""From a file of text, or problems, to the metrics of a trained model."""

import random
from pathlib import Path
from typing import Any

import pytest

from scalelab.core.events import Ended, Event, Interrupted, Measured
from scalelab.core.metrics import is_speed
from scalelab.data.text.prepare import prepare
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.text.spec import Text
from scalelab.train import train

OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("causal", {}),
    "apart": ("causal", {"documents": "apart"}),
    "prefix": ("prefix", {"objective": {"kind": "prefix"}}),
    "prefix_apart": ("prefix", {"objective": {"kind": "prefix"}, "documents": "apart"}),
    "masked": ("full", {"objective": {"kind": "masked", "share": 0.3}}),
    "masked_apart": ("full", {"objective": {"kind": "masked", "share": 0.3}, "documents": "apart"}),
    "one": ("full", {"objective": {"kind": "masked", "one": True}}),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A corpus of some hundred little documents, and the folder that it is prepared in."""
    folder = tmp_path_factory.mktemp("corpus")
    drawn = random.Random(0)
    words = ["the", "a", "cat", "dog", "sees", "hears", "and", "runs", "house", "tree"]
    lines = [
        f'{{"text": "{" ".join(drawn.choices(words, k=drawn.randint(3, 12)))}."}}\n'
        for _ in range(600)
    ]
    (folder / "text.jsonl").write_text("".join(lines))
    task = Text.model_validate(
        {"corpus": {"source": str(folder / "text.jsonl"), "validation": 0.1}}
    )
    prepare(task.corpus, task.tokens, str(folder / "data"))
    return str(folder / "text.jsonl"), str(folder / "data")


def trial(
    source: str, mask: str = "causal", task: dict[str, Any] | None = None, **changes: Any
) -> Trial:
    data: dict[str, Any] = {
        "task": {
            "kind": "text",
            "corpus": {"source": source, "validation": 0.1},
            "context": 32,
            **(task or {}),
        },
        "model": {"width": 16, "layers": 1, "tied": True, "mask": mask},
        "budget": {"steps": 60},
        "batch": 8,
        "optim": {"lr": 1e-2, "schedule": {"warmup": 5}},
        "evaluation": {"first": 20, "ratio": 2},
    }
    made = Trial.model_validate(data | changes)
    return made.model_copy(update={"model": made.model.resolved()})


def run(
    given: Trial, data: str, **options: Any
) -> tuple[list[tuple[int, dict[str, float]]], Ended]:
    """What two equal runs agree on, and the end."""
    events: list[Event] = []
    execution = Execution.model_validate(
        {"device": "cpu", "data": data, **options.pop("execution", {})}
    )
    ended = train(given, execution, emit=events.append, **options)
    told = [event for event in events if isinstance(event, Measured | Ended)]
    return [
        (event.step, {name: value for name, value in event.values.items() if not is_speed(name)})
        for event in told
    ], ended


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_text_is_learned_under_every_objective(
    prepared: tuple[str, str], mask: str, task: dict[str, Any]
) -> None:
    source, folder = prepared
    numbers, ended = run(trial(source, mask, task), folder)
    assert [step for step, _ in numbers] == [20, 40, 60, 60]
    assert set(Text().measures) <= numbers[0][1].keys()
    assert {"test_loss", "perplexity", "flops_per_token"} <= ended.values.keys()
    assert ended.values["validation_loss"] == numbers[-2][1]["validation_loss"]
    assert ("pseudo_perplexity" in ended.values) == (mask == "full")
    assert ended.values["validation_loss"] < numbers[0][1]["validation_loss"] < 5.6
    assert ended.values["test_loss"] == pytest.approx(ended.values["validation_loss"], abs=0.3)
    assert ("bits_per_byte" in ended.values) == (not task)
    assert 0 < ended.values.get("bits_per_byte", 1) < 8


@pytest.mark.parametrize(
    ("mask", "task"), [OBJECTIVES["apart"], OBJECTIVES["masked"]], ids=["apart", "masked"]
)
def test_an_interrupted_text_trial_goes_on_and_ends_with_the_same_bits(
    prepared: tuple[str, str], tmp_path: Path, mask: str, task: dict[str, Any]
) -> None:
    source, folder = prepared
    whole, ended = run(trial(source, mask, task), folder)
    left = iter(range(33))
    with pytest.raises(Interrupted):
        run(
            trial(source, mask, task),
            folder,
            folder=tmp_path,
            stopping=lambda: next(left, None) is None,
        )
    rest, resumed = run(trial(source, mask, task), folder, folder=tmp_path)
    assert rest == whole
    assert resumed.artifacts["weights_sha256"] == ended.artifacts["weights_sha256"]


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_micro_batches_of_text_add_up_to_the_batch(
    prepared: tuple[str, str], mask: str, task: dict[str, Any]
) -> None:
    source, folder = prepared
    given = trial(source, mask, task, budget={"steps": 3})
    whole, parts = run(given, folder)[0], run(given, folder, execution={"micro_batch": 3})[0]
    assert parts[0][1]["loss"] == pytest.approx(whole[0][1]["loss"], rel=1e-4)
    assert parts[-1][1]["test_loss"] == pytest.approx(whole[-1][1]["test_loss"], rel=1e-4)


@pytest.mark.slow
def test_sums_of_two_digits_are_learned() -> None:
    task = Arithmetic(length=2, longest=3, reversed=True)
    model = {"width": 64, "layers": 2, "heads": 4}
    optim = {"lr": 5e-3, "weight_decay": 0.5, "schedule": {"kind": "wsd", "warmup": 20}}
    changes = {
        "task": task.model_dump(),
        "model": model,
        "optim": optim,
        "batch": 256,
        "budget": {"steps": 400},
    }
    _, ended = run(trial("", **changes, evaluation={"first": 200, "ratio": 2}), "")
    assert ended.values["accuracy"] > 0.9
    assert ended.values["accuracy_2"] > 0.9
    assert (
        ended.values["accuracy_longer"] < 0.5
    )  # what is learned of two digits does not carry to three
