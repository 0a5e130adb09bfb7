"""`doctor` over a spec: compiled graphs, and activations by width."""

import json
import sys
from pathlib import Path

import pytest

from scalelab.cli import main

SPEC = """
name: tiny
task: {people: 2, templates: 1}
model: {width: 16, layers: 1, mup: 16}
budget: {steps: 4}
batch: 4
replicates: 2
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec file."""
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["scalelab", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_coordinates_are_told_by_width(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "doctor", "--coordinates", str(spec), "--json") == 0
    found = json.loads(capsys.readouterr().out)["coordinates"]
    assert [one["name"] for one in found] == [
        "embedding",
        "layers.0.attention",
        "layers.0.ffn",
        "logits",
    ]
    assert set(found[0]["moved"]) == {"8", "16", "32", "64"}
    assert not any(one["grows"] or one["vanishes"] for one in found)
    assert set(found[0]["own"]) == set(found[0]["moved"])


@pytest.mark.parametrize(("mup", "code"), [("mup: 16", 1), ("mup: null", 0)])
def test_under_mup_activations_that_vanish_with_the_width_are_a_failure(
    spec: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mup: str,
    code: int,
) -> None:
    text = SPEC.replace("mup: 16", mup) + "optim: {eps: 1, weight_decay: 0}\n"
    spec.write_text(text)
    assert run(monkeypatch, "doctor", "--coordinates", str(spec), "--json") == code
    found = json.loads(capsys.readouterr().out)["coordinates"]
    assert any(one["vanishes"] for one in found) == bool(code)
    assert not any(one["grows"] for one in found)
    assert run(monkeypatch, "doctor", "--coordinates", str(spec)) == code
    assert ("vanishes" in capsys.readouterr().out) == bool(code)


def test_two_examinations_at_once_are_refused(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "doctor", "--coordinates", str(spec), "--compile", str(spec)) == 2
    assert "one after the other" in capsys.readouterr().err


@pytest.mark.slow
def test_a_spec_is_traced_once_for_trials_that_trace_alike(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "doctor", "--compile", str(spec), "--json") == 0
    (traced,) = json.loads(capsys.readouterr().out)["traced"]
    assert (traced["trials"], traced["faults"]) == (2, [])
