"""Every recipe, and the campaign, runs from its own file: made small, each of its arms and axes, on
generated text.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from scalelab.spec.budget import LENGTHS

SPECS = Path(__file__).parents[2] / "specs"
SMALL = {"replicates": 1, "batch": 2, "precision": "fp32"}
"""Few processors compute in bf16; others take a hundred times as long."""
WORDS = [
    "the",
    "king",
    "of",
    "every",
    "winter",
    "song",
    "and",
    "a",
    "quiet",
    "sea",
    "under",
    "old",
    "stars",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some thousand words in lines."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "song.txt"
    path.write_text("\n\n".join(" ".join(draw.choices(WORDS, k=40)) + "." for _ in range(120)))
    return path


def small(spec: dict[str, Any], corpus: Path) -> dict[str, Any]:
    """The spec with a few short updates on a small corpus; its arms and the axes of its models
    stay.
    """
    kept = {key: value for key, value in spec.items() if key != "execution"}
    budget = {
        "steps": 3,
        **{key: value for key, value in spec.get("budget", {}).items() if key not in LENGTHS},
    }
    task = spec["task"] | {"corpus": str(corpus), "tokens": "bytes", "context": 32}
    optim = spec["optim"] | {"schedule": {"kind": "constant", "warmup": 1}}
    evaluation = {"first": 2} | (
        {"decoding": {}} if "decoding" in spec.get("evaluation", {}) else {}
    )
    axes = _without_lengths(spec.get("axes", {}))
    return (
        kept
        | SMALL
        | {"task": task, "budget": budget, "optim": optim, "axes": axes, "evaluation": evaluation}
    )


def _without_lengths(axes: dict[str, Any]) -> dict[str, Any]:
    lengths = {f"budget.{length}" for length in LENGTHS}
    return {
        key: _without_lengths(axis) if key == "zip" else axis
        for key, axis in axes.items()
        if key not in lengths
    }


@pytest.mark.parametrize(
    "path",
    [*sorted((SPECS / "recipes").glob("*.yaml")), SPECS / "gqa_moe.yaml"],
    ids=lambda path: path.stem,
)
def test_a_recipe_made_small_runs(path: Path, corpus: Path, command: Any, tmp_path: Path) -> None:
    spec = small(yaml.safe_load(path.read_text()), corpus)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec))
    said = command("run", "small.yaml", "--executor", "inline", "--json")
    assert said.code == 0, said.err
    trials = said.json["trials"]
    assert {trial["state"] for trial in trials} == {"done"}
    assert len(trials) >= len(spec.get("arms", {}))
    assert all(0 < trial["metrics"]["test_loss"] < 10 for trial in trials)
    again = command("run", "small.yaml", "--executor", "inline", "--json")
    assert again.json["known"] == len(trials)
