"""A small run of the main job with its numbers asserted, as a user would type it.

`make e2e` runs it.

Two minutes on two cores: both recall modes, three values of people, the frontier, the figure, and
then what the store promises.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SPEC = """\
name: small_facts
about: A small version of the main job.
extends: {main}
replicates: 1
batch: 16
axes:
  task.recall: [in_weight, in_tool]
  task.people: [2, 4, 8]
  model.width: [4, 8, 12, 16, 20, 24]
"""


TEXT_SPEC = """\
name: small_text
task: {kind: text, corpus: numbers.txt, tokens: bytes, context: 48}
model: {layers: 2, width: 32, heads: 4, tied: true, ffn: {width: 64}}
arms:
  base: {}
  experts:
    model.kv_heads: 1
    model.ffn: {kind: moe, experts: 4, chosen: 2, width: 32, balance: {bias: 0.001}}
budget: {steps: 60}
optim: {lr: 1e-2, schedule: {kind: wsd, warmup: 5}}
batch: 8
replicates: 2
evaluation: {first: 20, decoding: {}}
"""


def main() -> None:
    """Run, draw, and assert what came out."""
    main_spec = Path(__file__).resolve().parent.parent / "specs" / "facts_vs_params.yaml"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.yaml").write_text(SPEC.format(main=main_spec))
        began = time.monotonic()
        first = scalelab(folder, "run", "small.yaml", "--json")
        print(f"the run took {time.monotonic() - began:.0f} s: {first['outcomes']}")
        check_trials(first["trials"])
        again = scalelab(folder, "run", "small.yaml", "--json")
        assert again["outcomes"] == {}, f"a second run found something to do: {again['outcomes']}"
        assert again["known"] == sum(first["outcomes"].values())
        check_figure(folder)
        check_bits(folder, first["trials"])
        check_law(folder)
        check_text(folder)


def check_trials(trials: list[dict[str, Any]]) -> None:
    """Every cell has its answer, and recall is what a trained and an untrained model would show."""
    ran = [trial for trial in trials if trial["state"] in ("done", "stopped")]
    assert not [trial for trial in trials if trial["state"] in ("failed", "diverged")]
    assert len(ran) < len(trials), "the frontier asked for the whole grid"
    for recall in ("in_weight", "in_tool"):
        for people in (2, 4, 8):
            cell = [
                trial
                for trial in ran
                if trial["axes"]["task.recall"] == recall and trial["axes"]["task.people"] == people
            ]
            best = max(trial["metrics"]["recall"] for trial in cell)
            assert best >= 0.95, f"{recall} with {people} people reaches a recall of {best} only"
    for trial in ran:
        metrics = trial["metrics"]
        assert 0 <= metrics["recall"] <= 1
        assert abs(metrics["chance"] - (1 / 17136 + 1 / 7 + 1 / 213 + 1 / 100) / 4) < 1e-9
        width = trial["axes"]["model.width"]
        assert trial["params"]["total"] == 32 * width**2 + 525 * width
        if trial["axes"]["task.recall"] == "in_tool":
            assert 0 <= metrics["recall_permuted"] <= 1, (
                "the probe that tells tool use from memory is not there"
            )
        else:
            assert metrics["recall_unseen"] <= 0.5, (
                "the facts of people never trained on were recalled: a leak"
            )


def check_figure(folder: Path) -> None:
    """Figure 1 says what the trials say."""
    scalelab(folder, "report", "--fig", "1", "--experiment", "small_facts", "--json")
    figure = json.loads((folder / "reports" / "fig-1.json").read_text())
    curves = {curve["recall"]: curve["points"] for curve in figure["curves"]}
    facts = {recall: [point["facts"] for point in points] for recall, points in curves.items()}
    assert facts == {"in_weight": [8, 16, 32], "in_tool": [8, 16, 32]}
    params = [point["params_mean"] for point in curves["in_weight"]]
    assert None not in params
    assert params[0] <= params[-1] <= 31_032
    page = (folder / "reports" / "fig-1.html").read_text()
    assert "small_facts" in page
    assert 'src="http' not in page


def check_bits(folder: Path, trials: list[dict[str, Any]]) -> None:
    """The cheapest finished trial, run again, has the same bits."""
    finished = [trial for trial in trials if trial["state"] in ("done", "stopped")]
    cheapest = min(finished, key=lambda trial: trial["seconds"])
    verdict = scalelab(folder, "verify", cheapest["digest"][:12], "--json")
    assert verdict["equal"], verdict["first"]
    print(f"verified {cheapest['digest'][:10]}: {verdict['compared']} values equal")


def check_law(folder: Path) -> None:
    """A published table comes in, its law has the published coefficients, and the pages agree with
    the store.
    """
    tables = Path(__file__).resolve().parent / "tables"
    scalelab(
        folder,
        "import",
        str(tables / "chinchilla_epoch_245.csv"),
        "--mapping",
        str(tables / "chinchilla.yaml"),
        "--json",
    )
    fitted = scalelab(
        folder,
        "fit",
        "chinchilla",
        "--experiment",
        "chinchilla",
        "--filter",
        "metrics.loss < 3.44",
        "--bootstrap",
        "400",
        "--json",
    )
    found = {name: estimate["value"] for name, estimate in fitted["coefficients"].items()}
    assert (round(found["alpha"], 4), round(found["beta"], 4), round(found["E"], 4)) == (
        0.3473,
        0.3672,
        1.8172,
    ), found
    assert fitted["objective"] <= 0.0010182750
    drawn = scalelab(folder, "report", "--json")
    assert {Path(figure["path"]).stem for figure in drawn["figures"]} >= {
        "fig-4",
        "fig-5",
        "fig-6",
        "fig-7",
    }
    assert (folder / drawn["index"]).exists()
    assert scalelab(folder, "report", "--check", "--json") == {"stale": []}
    print(
        f"fitted {fitted['starts']['at_best']} of {fitted['starts']['tried']} starts to"
        f" {fitted['objective']:.10f}"
    )


def check_text(folder: Path) -> None:
    """A corpus is prepared by the run that needs it; its trials are drawn, sampled from, and have
    the same bits again.
    """
    (folder / "numbers.txt").write_text(
        "\n".join(f"{number} and {number} is {2 * number}." for number in range(4000))
    )
    (folder / "text.yaml").write_text(TEXT_SPEC)
    trials = scalelab(folder, "run", "text.yaml", "--json")["trials"]
    assert {trial["state"] for trial in trials} == {"done"}
    for trial in trials:
        metrics = trial["metrics"]
        assert metrics["test_loss"] < 2.5, f"a loss of {metrics['test_loss']} on counted numbers"
        assert metrics["decode_tokens_per_second_b1_t48"] > 0
    verdict = scalelab(folder, "verify", trials[-1]["digest"][:12], "--json")
    assert verdict["equal"], verdict["first"]
    [written] = scalelab(
        folder,
        "generate",
        trials[-1]["digest"][:12],
        "--prompt",
        "12 and 12 is",
        "--tokens",
        "8",
        "--json",
    )["trials"]
    assert written["samples"], "nothing was written"
    for figure in ("9", "10"):
        scalelab(folder, "report", "--fig", figure, "--experiment", "small_text", "--json")
    print(f"text: a test loss of {min(trial['metrics']['test_loss'] for trial in trials):.2f}")


def scalelab(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run the command in `folder`; its `--json` answer."""
    command = [str(Path(sys.executable).parent / "scalelab"), *arguments]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, f"{' '.join(arguments)} ended with exit code {done.returncode}"
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
