"""`generate` from the command line, on trials that are run here."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from scalelab.cli import generating, main

SPEC = """
name: tiny
task: {people: 2, templates: 1}
model: {width: 8}
budget: {steps: 30}
optim: {lr: 1e-2}
batch: 8
evaluation: {first: 30}
axes: {model.width: [4, 8], task.recall: [in_weight, in_tool]}
"""
SUMS = """
name: sums
task: {kind: arithmetic, length: 1, longest: 1}
model: {width: 8}
budget: {steps: 3}
batch: 4
evaluation: {first: 3}
"""
MASKED = """
name: masked
task: {kind: text, corpus: {source: tales, tokens: 20k}, context: 32, objective: masked}
model: {width: 8, mask: full}
budget: {steps: 3}
batch: 4
evaluation: {first: 3}
axes: {optim.lr: [1e-3, 1e-2]}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which all specs have been run, and one trial more that has not."""
    folder = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, spec in (("tiny", SPEC), ("sums", SUMS), ("masked", MASKED)):
            (folder / f"{name}.yaml").write_text(spec)
            patch.setattr(
                sys,
                "argv",
                ["scalelab", "run", f"{name}.yaml", "--executor", "inline", "--store", "s.db"],
            )
            with pytest.raises(SystemExit, match="0"):
                main()
    return folder


@pytest.fixture
def said(command: Command, ran: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs `generate` on that store."""
    monkeypatch.setenv("SCALELAB_STORE", str(ran / "s.db"))
    return lambda *arguments: command("generate", *arguments)


@pytest.fixture
def digests(command: Command, ran: Path) -> dict[str, str]:
    """Digest of a trial of each experiment."""
    trials = command("ls", "--store", str(ran / "s.db"), "--json").json["trials"]
    return {trial["experiment"]: trial["digest"] for trial in trials}


def test_the_text_is_shown_behind_its_prompt(said: Command, digests: dict[str, str]) -> None:
    shown = said(digests["tiny"], "--prompt", "Who?", "--tokens", "5")
    assert shown.code == 0
    assert shown.out.startswith("[user] Who?\n[assistant] ")


def test_streamed_text_is_that_of_json_and_of_no_cache(
    said: Command, digests: dict[str, str]
) -> None:
    asked = (
        digests["tiny"],
        "--prompt",
        "Who?",
        "--tokens",
        "9",
        "--temperature",
        "1.5",
        "--seed",
        "3",
        "--samples",
        "3",
    )
    (trial,) = said(*asked, "--json").json["trials"]
    texts = [sample["text"] for sample in trial["samples"]]
    assert len(set(texts)) == 3
    wanted = "".join(
        f"-- sample {number} of 3\n[user] Who?\n[assistant] {text}\n"
        for number, text in enumerate(texts, 1)
    )
    assert said(*asked).out == wanted
    assert said(*asked, "--no-cache").out == wanted
    assert trial["digest"] == digests["tiny"]
    assert trial["state"] == "done"


def test_a_prompt_comes_from_standard_input(
    said: Command, digests: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1+1="))
    shown = said(digests["sums"], "--prompt", "-", "--tokens", "1")
    assert shown.out.startswith("1+1=")


def test_without_a_prompt_something_of_the_task_is_asked(
    said: Command, digests: dict[str, str]
) -> None:
    assert "=" in said(digests["sums"], "--tokens", "1").out
    assert said(digests["tiny"], "--tokens", "1").out.startswith("[user] When was ")


def test_a_full_context_is_said(said: Command, digests: dict[str, str]) -> None:
    shown = said(digests["sums"], "--temperature", "9", "--samples", "9")
    assert "context of" in shown.err
    assert "is full" in shown.err


def test_the_best_and_the_worst_are_shown_with_their_metric_and_axes(
    said: Command, command: Command, ran: Path
) -> None:
    trials = {
        one["digest"]: one
        for one in command(
            "ls", "--store", str(ran / "s.db"), "--experiment", "tiny", "--json"
        ).json["trials"]
    }
    losses = {digest: trial["metrics"]["loss"] for digest, trial in trials.items()}
    best, worst = min(losses, key=losses.__getitem__), max(losses, key=losses.__getitem__)
    shown = said("--best-and-worst", "tiny", "--metric", "loss", "--tokens", "3")
    assert shown.out.index(
        f"== best: loss {losses[best]:.6g}, trial {best[:10]}"
    ) < shown.out.index("== worst: loss")
    assert f"model.width {trials[worst]['axes']['model.width']}" in shown.out.split("== worst")[1]
    found = said("--best-and-worst", "tiny", "--metric", "loss", "--tokens", "3", "--json").json[
        "trials"
    ]
    assert [trial["digest"] for trial in found] == [best, worst]
    highest = said("--best-and-worst", "tiny", "--metric", "bits", "--tokens", "3", "--json").json[
        "trials"
    ]
    assert highest[0]["metrics"]["bits"] > highest[1]["metrics"]["bits"]
    assert "only finished: accuracy" in said("--best-and-worst", "sums", "--tokens", "3").out


def test_a_model_of_masked_text_fills_gaps(
    said: Command, digests: dict[str, str], ran: Path
) -> None:
    data = ("--data", str(ran / "results/data"))
    shown = said("--best-and-worst", "masked", "--prompt", "Long a[MASK]o", *data)
    assert shown.code == 0
    _, hidden, best, _, again, worst, _ = shown.out.split("\n")
    assert hidden == again == "Long a[MASK]o"
    assert (best[:6] + best[-1], worst[:6] + worst[-1]) == ("Long ao", "Long ao")
    found = said("--best-and-worst", "masked", *data, "--json").json["trials"]
    assert [one["prompt"].count("[MASK]") for one in found] == [2, 2]
    assert all(one["samples"][0]["tokens"] == 2 for one in found)


@pytest.mark.parametrize("option", ["--compile", "--no-cache", "--stop=a"])
def test_a_model_that_fills_gaps_refuses_what_it_has_no_use_for(
    said: Command, digests: dict[str, str], option: str
) -> None:
    refused = said(digests["masked"], option, "--data", "/nowhere")  # nothing is loaded for it
    assert (refused.code, refused.out) == (2, "")
    assert f"leave `{option.partition('=')[0]}` out" in refused.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ffff00"], "no trial begins with `ffff00`"),
        ([], "needs a trial"),
        (["--best-and-worst", "tinny"], "did you mean `tiny`"),
        (["--best-and-worst", "tiny", "--metric", "los"], "did you mean `loss`"),
        (["DIGEST", "--top-p", "2"], "top_p is 2"),
        (["DIGEST", "--compile", "--no-cache"], "leave one of them out"),
        (["DIGEST", "--prompt", "x" * 500], "the prompt has 502 tokens"),
    ],
    ids=str,
)
def test_wrong_input_is_a_sentence(
    said: Command, digests: dict[str, str], arguments: list[str], says: str
) -> None:
    shown = said(*[digests["tiny"] if one == "DIGEST" else one for one in arguments])
    assert (shown.code, shown.out) == (2, "")
    assert says in shown.err
    assert shown.err.count("\n") == 1


def test_a_model_that_is_gone_or_another_is_a_sentence(
    said: Command, command: Command, digests: dict[str, str], ran: Path
) -> None:
    artifacts = command("show", digests["sums"], "--store", str(ran / "s.db"), "--json").json[
        "trials"
    ][0]["artifacts"]
    place, other = (
        Path(artifacts["model"]),
        Path(said(digests["tiny"], "--json", "--tokens", "1").json["trials"][0]["digest"]),
    )
    kept = place.read_bytes()
    others = command("show", str(other), "--store", str(ran / "s.db"), "--json").json["trials"][0][
        "artifacts"
    ]["model"]
    try:
        for content in (kept[:99], Path(others).read_bytes(), None):
            place.unlink() if content is None else place.write_bytes(content)
            shown = said(digests["sums"])
            assert shown.code == 2
            assert str(place) in shown.err
    finally:
        place.write_bytes(kept)


def test_an_unfinished_trial_is_named(
    said: Command, command: Command, ran: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.yaml").write_text(
        SPEC.replace("name: tiny", "name: more").replace("lr: 1e-2", "lr: 2e-2")
    )
    command(
        "run",
        "more.yaml",
        "--store",
        str(tmp_path / "more.db"),
        "--executor",
        "inline",
        "--time",
        "0.001s",
    )
    trials = command("ls", "--store", str(tmp_path / "more.db"), "--json").json["trials"]
    unfinished = next(trial for trial in trials if trial["state"] != "done")
    shown = command("generate", unfinished["digest"], "--store", str(tmp_path / "more.db"))
    assert shown.code == 2
    assert f"is {unfinished['state']}" in shown.err


def test_a_terminal_is_shown_no_commands() -> None:
    text = "a\x1b[2Jb\rc\x9bd\u202ee\nf\tg"
    assert generating.safe(text) == "a\\x1b[2Jb\\x0dc\\x9bd\\u202ee\nf\tg"
    assert json.dumps(text)  # JSON escapes by itself
