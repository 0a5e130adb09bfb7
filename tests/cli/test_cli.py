"""The command line as a user meets it: names, exit codes, one sentence for what is wrong, one JSON
object for machines.
"""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

SPEC = """\
name: tiny
task: {templates: 1}
budget: {steps: 12}
batch: 8
evaluation: {first: 6, ratio: 2}
axes:
  task.people: [2, 3]
  model.width: [4, 8]
replicates: 2
"""


@pytest.fixture
def scalelab(command: Command, tmp_path: Path) -> Command:
    """Runs a command in a folder of its own, with a spec there."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return command


def test_plan_then_run_then_nothing_is_left(scalelab: Command) -> None:
    plan = scalelab("plan", "tiny.yaml", "--json").json
    assert plan["states"] == {"missing": 8}
    assert {tuple(trial) for trial in plan["trials"]} == {
        (
            "digest",
            "state",
            "experiment",
            "axes",
            "replicate",
            "params",
            "steps",
            "tokens",
            "exposures",
            "flops",
            "flops_least",
            "seconds",
            "metrics",
        )
    }
    ran = scalelab("run", "tiny.yaml", "--executor", "inline", "--json")
    assert (ran.code, ran.json["outcomes"]) == (0, {"done": 8})
    assert all(trial["metrics"]["recall"] >= 0 for trial in ran.json["trials"])
    again = scalelab("run", "tiny.yaml", "--executor", "inline")
    assert (again.code, "8 trials had their result before" in again.out) == (0, True)
    after = scalelab("plan", "tiny.yaml", "--json").json
    assert after["states"] == {"done": 8}
    assert after["seconds"] == 0


def test_only_and_set_choose_trials(scalelab: Command) -> None:
    only = scalelab(
        "run",
        "tiny.yaml",
        "--executor",
        "inline",
        "--only",
        "model.width == 4 and task.people == 2",
        "--json",
    ).json
    assert only["outcomes"] == {"done": 2}
    assert scalelab("plan", "tiny.yaml", "--json").json["states"] == {"done": 2, "missing": 6}
    assert scalelab("plan", "tiny.yaml", "--set", "optim.lr=1e-2", "--json").json["states"] == {
        "missing": 8
    }
    assert scalelab("run", "tiny.yaml", "--dry-run").out == scalelab("plan", "tiny.yaml").out


def test_looking_at_a_store(scalelab: Command) -> None:
    scalelab("run", "tiny.yaml", "--executor", "inline")
    assert scalelab("status", "--json").json["experiments"] == [
        {"name": "tiny", "states": {"done": 8}, "trials": 8}
    ]
    trials = scalelab("ls", "--filter", "model.width == 8 and metrics.recall >= 0", "--json").json[
        "trials"
    ]
    assert len(trials) == 4
    first, second = (trial["digest"] for trial in trials[:2])
    shown = scalelab("show", first[:12], "--json").json["trials"][0]
    assert shown["attempts"][0]["state"] == "done"
    assert [step for step, _ in shown["curves"]["loss"]] == sorted(
        step for step, _ in shown["curves"]["recall"]
    )
    assert shown["curves"]["recall"][-1][0] == shown["steps"]
    assert set(scalelab("compare", first[:12], second[:12], "--json").json["different"]) >= {"seed"}
    for words in (("ls",), ("status",), ("show", first[:12]), ("compare", first[:12], second[:12])):
        said = scalelab(*words)
        assert said.code == 0
        assert said.out.strip()


def test_verify_runs_a_trial_again_bit_for_bit(scalelab: Command) -> None:
    scalelab("run", "tiny.yaml", "--executor", "inline", "--only", "model.width == 4")
    digest = scalelab("ls", "--filter", "state == done", "--json").json["trials"][0]["digest"]
    said = scalelab("verify", digest[:12], "--json")
    assert (said.code, said.json["equal"], said.json["changed"]) == (0, True, {})
    with sqlite3.connect("results/scalelab.db") as database:
        database.execute("UPDATE metrics SET value = value + 1e-12 WHERE name = 'loss'")
    said = scalelab("verify", digest[:12])
    assert said.code == 1
    assert "loss at step 6 was" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "none.yaml"], "none.yaml: cannot be read"),
        (["plan", "tiny.yaml", "--set", "model.widht=3"], "did you mean `width`?"),
        (
            ["plan", "tiny.yaml", "--set", "budget={params: 1k, steps: 3}"],
            "leave `budget.params` out",
        ),
        (["plan", "tiny.yaml", "--set", "model.ffn.width=solve"], "there is no parameter budget"),
        (
            ["plan", "tiny.yaml", "--set", "task.context=20"],
            "--set task.context=20: a context of 20 tokens cuts the longest dialog",
        ),
        (
            [
                "plan",
                "tiny.yaml",
                "--set",
                "search.kind=frontier",
                "--set",
                "search.size=model.heads",
            ],
            "which is no axis; add `model.heads` to `axes`",
        ),
        (
            ["plan", "tiny.yaml", "--set", "axes.model.width=[4, 7]"],
            "2 heads do not divide the width 7",
        ),
        (["plan", "tiny.yaml", "--only", "task.peeple > 3"], "did you mean `task.people`?"),
        (["run", "tiny.yaml", "--time", "soon"], "--time: 'soon' is not a duration"),
        (["status", "--store", "none.db"], "none.db"),
        (["status", "--store", "tiny.yaml"], "tiny.yaml"),
        (["show", "abc", "--store", "none.db"], "none.db"),
        (["report", "--fig", "1", "--store", "none.db"], "none.db"),
        (["import", "none.csv"], "none.csv: does not exist"),
        (["explain", "model.widht"], "did you mean `model.width`?"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    scalelab: Command, arguments: list[str], words: str
) -> None:
    said = scalelab(*arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not Path("results").exists()


def test_an_import_that_does_not_fit_writes_nothing(scalelab: Command) -> None:
    Path("table.csv").write_text("people,accuracy\n16,high\n")
    Path("mapping.yaml").write_text(
        "experiment: e\ncolumns: {task.people: people, metrics.recall: accuracy}\n"
    )
    Path("notes.txt").write_text("no store")
    for arguments, words in (
        (["table.csv", "--mapping", "mapping.yaml"], "table.csv:2: row 1, column `accuracy`"),
        (["notes.txt"], "notes.txt"),
    ):
        said = scalelab("import", *arguments)
        assert said.code == 2
        assert words in said.err
        assert not Path("results").exists()


def test_the_version_the_solved_sizes_and_a_warm_up_without_end_are_told(scalelab: Command) -> None:
    assert scalelab("--version").out == "scalelab 0.1.0\n"
    out = scalelab(
        "plan",
        "tiny.yaml",
        "--set",
        "model.ffn.width=solve",
        "--set",
        "budget.params={target: 10k, tolerance: 0.5}",
    ).out
    assert "model.ffn.width" in out.splitlines()[0]
    assert "8 of the trials end within their warm-up" in out


def test_an_unknown_command_or_option_is_wrong_input(scalelab: Command) -> None:
    assert scalelab("rum").code == 2
    assert scalelab("run", "tiny.yaml", "--executer", "inline").code == 2


def test_a_read_only_store_can_be_looked_at_but_not_run_on(
    scalelab: Command, tmp_path: Path
) -> None:
    scalelab("run", "tiny.yaml", "--executor", "inline", "--only", "model.width == 4")
    store = tmp_path / "results" / "scalelab.db"
    store.chmod(0o444)
    (tmp_path / "results").chmod(0o555)
    try:
        assert scalelab("ls").code == 0
        said = scalelab("run", "tiny.yaml", "--executor", "inline")
        assert said.code == 2
        assert "read-only" in said.err
    finally:
        (tmp_path / "results").chmod(0o755)


def test_schema_and_explain_come_from_the_spec_classes(scalelab: Command) -> None:
    schema = scalelab("schema").json
    assert "Width of the residual stream" in json.dumps(schema)
    assert "Width of the residual stream" in scalelab("explain", "model.width").out
    assert {field["path"] for field in scalelab("explain", "optim", "--json").json["fields"]} >= {
        "optim",
        "optim.lr",
        "optim.schedule",
    }


def test_help_is_instant() -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "from scalelab.cli import main; main()",
        "--help",
    ]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - began < 2
    heavy = (
        "torch",
        "ray",
        "polars",
        "altair",
        "sqlalchemy",
        "optuna",
        "numpy",
        "scalelab.spec.experiment",
    )
    assert [name for name in heavy if f" {name}\n" in done.stderr] == []
    assert "run" in done.stdout


def test_doctor_looks_at_everything_and_finds_it_sound(scalelab: Command) -> None:
    said = scalelab("doctor", "--json")
    checks = {finding["check"]: finding for finding in said.json["checks"]}
    assert {
        "python",
        "torch",
        "device",
        "disk",
        "store",
        "executor inline",
        "executor ray",
    } <= checks.keys()
    assert said.code == 0, [finding for finding in checks.values() if not finding["ok"]]
    Path("broken.db").write_text("no database")
    said = scalelab("doctor", "--store", "broken.db")
    assert said.code == 1
    assert "cure for store:" in said.out


def test_a_newer_store_and_a_figure_without_data_are_refused(
    scalelab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scalelab.store import open_store, schema

    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        open_store("newer.db", mode="write").close()
    open_store("empty.db", mode="write").close()
    for arguments, words in (
        (["ls", "--store", "newer.db"], "newer scalelab"),
        (["run", "tiny.yaml", "--executor", "inline", "--store", "newer.db"], "update scalelab"),
        (
            ["report", "--fig", "1", "--store", "empty.db"],
            "scalelab run specs/facts_vs_params.yaml",
        ),
        (["report", "--fig", "99", "--store", "empty.db"], "99"),
        (["report", "--store", "empty.db"], "no figure has data"),
    ):
        said = scalelab(*arguments)
        assert (said.code, said.out) == (2, ""), arguments
        assert words in said.err
        assert said.err.count("\n") == 1


def test_a_full_disk_is_one_sentence_and_the_store_stays_readable(
    scalelab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scalelab.store.sqlite import Sqlite

    scalelab("run", "tiny.yaml", "--executor", "inline", "--only", "model.width == 4")
    write_metrics = Sqlite.write_metrics

    def on_a_full_disk(kind: Sqlite, connection: Any, rows: Any) -> None:
        connection.exec_driver_sql(
            "PRAGMA max_page_count = 1"
        )  # SQLite itself says that there is no room beyond the pages that are there
        many = [
            (trial, f"{name}_{copy}", step, value)
            for trial, name, step, value in rows
            for copy in range(500)
        ]
        write_metrics(kind, connection, many)

    monkeypatch.setattr(Sqlite, "write_metrics", on_a_full_disk)
    said = scalelab("run", "tiny.yaml", "--executor", "inline")
    assert said.code == 2
    assert "the disk is full; make room and run the same command again" in said.err
    assert said.err.count("\n") == 1
    assert scalelab("status", "--json").json["experiments"][0]["states"]["done"] == 4


def test_a_fault_of_its_own_is_a_sentence_with_an_exit_code_of_its_own(
    scalelab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("a wire is loose")

    monkeypatch.setattr("scalelab.spec.explain.schema", broken)
    said = scalelab("schema")
    assert (said.code, said.out) == (70, "")
    assert said.err.startswith("error: RuntimeError: a wire is loose")
    assert "Traceback" not in said.err
    monkeypatch.setenv("SCALELAB_DEBUG", "")  # so that what --debug sets is taken back
    assert "Traceback" in scalelab("--debug", "schema").err
