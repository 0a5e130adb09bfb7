"""What `plan`, `run` and `status` say of one experiment while it is begun, changed, refused and
finished.
"""

import io
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from tests.cli.conftest import Command

from scalelab.core.units import format_count
from scalelab.plan.plan import compile_plan
from scalelab.run.driver import Options, drive
from scalelab.spec.load import load
from scalelab.store import open_store

GRID = """\
name: grid
budget: {steps: 4}
batch: 4
axes: {model.width: [4, 8]}
replicates: 2
"""
FRONTIER = """\
name: cells
budget: {steps: 4}
batch: 4
axes:
  task.people: [2, 3]
  model.width: [4, 8, 12, 16]
search: {kind: frontier, at_least: 0}
"""


@pytest.fixture(autouse=True)
def specs(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "cells.yaml").write_text(FRONTIER)


def test_a_finished_frontier_looks_finished(command: Command) -> None:
    before = command("plan", "cells.yaml", "--json").json
    assert (before["states"], before["cells"]) == ({"missing": 8}, {"answered": 0, "total": 2})
    assert before["seconds"] > 0
    ran = command("run", "cells.yaml", "--executor", "inline", "--json").json
    assert ran["outcomes"] == {
        "done": 2
    }  # every model passes: the smallest is tried, and there is none below
    after = command("plan", "cells.yaml", "--json").json
    assert after["states"] == {"done": 2, "missing": 6}
    assert after["cells"] == {"answered": 2, "total": 2}
    assert (after["seconds"], after["tokens"], after["flops"]) == (0, 0, 0)
    said = command("plan", "cells.yaml").out
    assert "2 of 2 cells answered\nnothing to run\n" in said
    assert "to run:" not in said
    assert command("status", "--json").json["experiments"] == [
        {"name": "cells", "states": {"done": 2, "missing": 6}, "trials": 8}
    ]
    assert (
        sorted(trial["state"] for trial in command("ls", "--json").json["trials"])
        == ["done"] * 2 + ["missing"] * 6
    )


def test_a_grid_has_no_cells(command: Command) -> None:
    assert "cells" not in command("plan", "grid.yaml", "--json").json


def test_what_only_leaves_out_belongs_to_the_experiment_and_what_the_spec_leaves_out_does_not(
    command: Command,
) -> None:
    command("run", "grid.yaml", "--executor", "inline", "--only", "model.width == 4")
    assert command("status", "--json").json["experiments"][0]["states"] == {"done": 2, "missing": 2}
    command("run", "grid.yaml", "--executor", "inline", "--set", "replicates=1")
    trials = command("ls", "--json").json["trials"]
    assert [
        (trial["axes"]["model.width"], trial["replicate"], trial["state"]) for trial in trials
    ] == [(4, 0, "done"), (8, 0, "done")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["plan", "grid.yaml", "--only", "model.width == 6"],
            "--only: `model.width == 6` matches none of the 4 trials of grid",
        ),
        (["run", "grid.yaml", "--only", "model.width == 6"], "matches none"),
        (
            ["run", "grid.yaml", "--address", "127.0.0.1:1"],
            "no Ray cluster answers at `127.0.0.1:1`",
        ),
        (["run", "grid.yaml", "--set", "execution.device=cuda"], "set `execution.device: auto`"),
        (
            ["run", "grid.yaml", "--executor", "inline", "--set", "execution.device=mps"],
            "set `execution.device: auto`",
        ),
    ],
)
def test_a_refused_run_makes_no_store(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    if "--address" in arguments:
        ray.shutdown()  # an earlier test's Ray in this process would serve
    said = command(*arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not Path("results").exists()


def test_without_ray_a_run_is_refused_before_a_store_is_made(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = command("run", "grid.yaml")
    assert said.code == 2
    assert "Ray is not installed" in said.err
    assert not Path("results").exists()


def test_failures_of_an_earlier_run_are_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("a wire is loose")

    with monkeypatch.context() as patch:
        patch.setattr("scalelab.train.train", broken)
        first = command("run", "grid.yaml", "--executor", "inline", "--json")
    assert (first.code, first.json["outcomes"], first.json["failed_before"]) == (
        1,
        {"failed": 4},
        0,
    )
    again = command("run", "grid.yaml", "--executor", "inline", "--json")
    assert (
        again.code,
        again.json["outcomes"],
        again.json["failed"],
        again.json["failed_before"],
    ) == (1, {}, {}, 4)
    plan = command("plan", "grid.yaml", "--json").json
    assert (plan["states"], plan["flops"]) == ({"failed": 4}, 0)  # as a run leaves them alone


def test_a_bare_machine_is_sound(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray", "polars", "altair", "optuna", "vl_convert"):
        monkeypatch.setitem(sys.modules, name, None)
    said = command("doctor", "--json")
    checks = {finding["check"]: finding for finding in said.json["checks"]}
    assert said.code == 0, [finding for finding in checks.values() if not finding["ok"]]
    assert checks["polars"]["what"] == "not installed; needed for reports and fits"
    assert "Ray is not installed" in checks["executor ray"]["what"]
    assert checks["executor inline"]["what"] == "a tiny trial is done"


def test_the_published_grid_is_planned_in_a_moment(command: Command) -> None:
    spec = Path(__file__).parents[2] / "specs" / "paper" / "in_tool_learning.yaml"
    began = time.perf_counter()
    plan = command("plan", str(spec), "--json").json
    assert len(plan["trials"]) == 7800
    assert time.perf_counter() - began < 10  # 3 s in a quiet moment: see docs/benchmarks.md


SOLVED = """\
name: solved
task: {people: 2}
model: {width: solve}
budget: {exposures: 8, params: {target: 6k, tolerance: 0.1}}
batch: 4
evaluation: {first: 99}
axes: {budget.exposures: [1, 2]}
"""


def test_a_budget_is_shown_as_written_and_as_resolved(command: Command, tmp_path: Path) -> None:
    (tmp_path / "solved.yaml").write_text(SOLVED)
    assert command("run", "solved.yaml", "--executor", "inline").code == 0
    (_, second) = command("plan", "solved.yaml", "--json").json["trials"]
    shown = command("show", second["digest"], "--json").json["trials"][0]["budget"]
    width = second["axes"].get("model.width", shown["solved"]["model.width"])
    assert shown["written"] == {"exposures": 2, "params": {"target": 6000, "tolerance": 0.1}}
    assert shown["resolved"] == {
        name: second[name] for name in ("steps", "tokens", "exposures", "flops")
    }
    reached = second["params"]["total"]
    assert shown["params"] == {"convention": "total", "target": 6000, "reached": reached}
    assert abs(reached / 6000 - 1) <= 0.1
    out = command("show", second["digest"]).out
    assert "exposures: 2, params: {target: 6k, tolerance: 0.1}" in out
    assert f"model.width {width}: {reached:,} total parameters" in out


LARGE = """\
name: large
budget: {steps: 4}
batch: 4
evaluation: {first: 4}
axes:
  task.recall: [in_weight, in_tool]
  task.people: [2, 3, 4]
  model.width: {range: [4, 100, 4]}
"""


def test_a_large_plan_is_summed_up_by_its_axes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text(LARGE)
    few = ("--only", "model.width == 4 and task.people == 3 and task.recall == in_weight")
    assert command("run", "large.yaml", "--executor", "inline", *few).code == 0
    trials = command("plan", "large.yaml", "--json").json["trials"]
    assert len(trials) == 2 * 3 * 25
    lines = command("plan", "large.yaml").out.splitlines()[:10]
    assert max(map(len, lines)) <= 80
    head, *rows = (line.split() for line in lines)
    assert head == ["axis", "trials", "done", "missing", "params", "FLOPs", "time"]
    assert [row for row in rows if len(row) == 1] == [
        ["task.recall"],
        ["task.people"],
        ["model.width"],
    ]
    assert rows[1][:4] == ["in_weight", "75", "1", "74"]
    assert rows[2][:4] == ["in_tool", "75", "0", "75"]
    assert rows[5][:4] == ["3", "50", "1", "49"]
    assert rows[8][:8] == ["25", "from", "4", "to", "100", "150", "1", "149"]
    params = [trial["params"]["total"] for trial in trials]
    flops = sum(trial["flops"] for trial in trials)
    told = [format_count(min(params)), "to", format_count(max(params)), format_count(flops)]
    assert rows[8][8:12] == told

    def digests(*options: str) -> set[str]:
        lines = command("plan", "large.yaml", *options).out.splitlines()
        return {trial["digest"][:10] for trial in trials} & {line[:10] for line in lines}

    assert not digests()
    assert len(digests("--all")) == 150
    assert len(digests("--only", "model.width < 20")) == 24


PARTS = """\
name: parts
budget: {steps: 4}
axes:
  task:
    - {kind: facts, people: 16, recall: in_weight, templates: 1}
    - {kind: facts, people: 16, recall: in_weight, templates: 2}
    - {kind: facts, people: 16, recall: in_tool}
  optim.lr: [0.00101, 0.001010001]
  model.width: {range: [4, 36, 4]}
"""


def test_values_of_an_axis_never_look_the_same(command: Command, tmp_path: Path) -> None:
    (tmp_path / "parts.yaml").write_text(PARTS)
    lines = command("plan", "parts.yaml").out.splitlines()
    labels = [line.split("  ")[1] for line in lines[1:8] if line.startswith("  ")]
    assert labels == [
        "recall in_weight, templates 1",
        "recall in_weight, templates 2",
        "recall in_tool",
        "0.00101",
        "0.001010001",
    ]


ROUTED = """\
name: routed
task: {people: 3}
model: {kind: layer_router, width: 8, steps: 3, identity: 1}
budget: {steps: 4}
batch: 4
evaluation: {first: 2}
"""


def test_flops_that_depend_on_the_data_are_planned_as_a_range(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "routed.yaml").write_text(ROUTED)
    told = command("plan", "routed.yaml", "--json").json
    assert (
        told["flops_least"]
        == told["trials"][0]["flops_least"]
        < told["trials"][0]["flops"]
        == told["flops"]
    )
    low, high = (format_count(told[name]) for name in ("flops_least", "flops"))
    assert f"{low} to {high} FLOPs" in command("plan", "routed.yaml").out


def test_a_budget_that_a_meter_spends_is_run_and_verified(command: Command, tmp_path: Path) -> None:
    (tmp_path / "routed.yaml").write_text(ROUTED.replace("steps: 4}\nbatch", "flops: 20M}\nbatch"))
    command("run", "routed.yaml", "--executor", "inline")
    [trial] = command("ls", "--json").json["trials"]
    assert trial["state"] == "done"
    assert 20e6 <= trial["metrics"]["flops"] < 25e6
    assert "equal, bit for bit" in command("verify", trial["digest"]).out


def test_trials_of_an_older_recipe_are_named_and_run_again(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "falling.yaml").write_text(
        GRID.replace("grid", "falling") + "optim: {schedule: {kind: wsd, warmup: 1}}\n"
    )
    plan = compile_plan(*load(tmp_path / "falling.yaml"))
    before = [
        replace(planned, digest=next(iter(planned.trial.older_digests())))
        for planned in plan.trials
    ]
    (tmp_path / "results").mkdir()
    with open_store(tmp_path / "results/scalelab.db", mode="write") as store:
        quiet = Options(executor="inline", stream=io.StringIO())
        drive(replace(plan, trials=before), store, quiet)
    told = command("plan", "falling.yaml", "--json").json
    assert told["states"] == {"missing": 4}
    older = [
        {"digest": now.digest, "older": then.digest, "parts": ["optim.schedule"]}
        for now, then in zip(plan.trials, before, strict=True)
    ]
    assert told["older_recipes"] == older
    assert {trial["state"] for trial in told["trials"]} == {"missing"}
    lines = command("plan", "falling.yaml").out
    assert "4 of the trials were run under an older recipe" in lines
    rows = [line for line in lines.splitlines() if "missing (older recipe)" in line]
    assert len(rows) == len({str(planned.axes) for planned in plan.trials})
    shown = command("show", before[0].digest[:10])
    assert "run under an older recipe of `optim.schedule`" in shown.out
    stored = command("show", before[0].digest[:10], "--json").json["trials"]
    assert stored[0]["older_recipe"] == ["optim.schedule"]
    ran = command("run", "falling.yaml", "--executor", "inline", "--json")
    assert (ran.json["outcomes"], ran.json["older_recipes"]) == ({"done": 4}, older)
    assert "older recipe of `optim.schedule`" in ran.err
    assert command("plan", "falling.yaml", "--json").json["older_recipes"] == []
    assert "older recipe" not in command("run", "falling.yaml", "--executor", "inline").out


def test_a_run_says_how_many_trials_leave_the_experiment(command: Command) -> None:
    assert command("run", "grid.yaml", "--executor", "inline", "--json").json["left"] == 0
    narrower = ("--set", "axes.model.width=[4]", "--executor", "inline", "--json")
    assert command("run", "grid.yaml", *narrower).json["left"] == 2
    assert len(command("ls", "--json").json["trials"]) == 2


def test_a_spec_of_another_file_does_not_take_results_out_unasked(
    command: Command, tmp_path: Path
) -> None:
    inline = ("--executor", "inline", "--json")
    (tmp_path / "copy.yaml").write_text("about: a copy\n" + GRID.replace("[4, 8]", "[8, 12]"))
    command("run", "grid.yaml", *inline, "--only", "model.width == 8")
    asked = command("plan", "copy.yaml", "--json").json
    assert (asked["left"], asked["replaces"]) == (2, None)  # nobody has run them
    command("run", "grid.yaml", *inline)
    asked = command("plan", "copy.yaml", "--json", "--only", "model.width == 12").json
    assert (asked["left"], asked["replaces"]) == (2, str(tmp_path / "grid.yaml"))
    assert "--replace" in command("plan", "copy.yaml").out
    refused = command("run", "copy.yaml", *inline)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: copy.yaml:2: 2 trials with results would leave ")
    assert len(command("ls", "--json").json["trials"]) == 4
    assert command("run", "copy.yaml", "--set", "name=mine", *inline).code == 0
    ran = command("run", "copy.yaml", "--replace", *inline).json
    assert (ran["left"], ran["outcomes"], len(ran["trials"])) == (2, {}, 4)
    # Now it is the copy's, which may change in its place, and under another name.
    assert command("run", "grid.yaml", *inline).code == 2
    (tmp_path / "copy.yaml").rename(tmp_path / "renamed.yaml")
    narrower = ("--set", "axes.model.width=[8]")
    assert command("run", "renamed.yaml", *narrower, *inline).json["left"] == 2
