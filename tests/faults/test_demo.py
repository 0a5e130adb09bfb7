"""The main job in small, as `make demo` runs it: stopped in the middle, the same command goes on to
the same figure.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scalelab.core.errors import UserError
from scalelab.store import open_store

SPEC = """
name: small_facts
extends: {main}
replicates: 1
batch: 16
budget: {{exposures: 200}}
axes:
  task.recall: [in_weight, in_tool]
  task.people: [2, 4]
  model.width: [4, 8, 12, 16]
"""


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "scalelab", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(folder: Path) -> int:
    """How many trials have their result."""
    with suppress(UserError), open_store(folder / "results/scalelab.db", mode="read") as store:
        return sum(one.result.state in ("done", "stopped") for one in store.members("small_facts"))
    return 0


def figure(folder: Path, interrupted_by: signal.Signals | None = None) -> dict[str, Any]:
    """Figure 1 of the job; the signal comes to the run's process group after three trials."""
    folder.mkdir()
    main = Path(__file__).parents[2] / "specs" / "facts_vs_params.yaml"
    (folder / "small.yaml").write_text(SPEC.format(main=main))
    if interrupted_by is not None:
        process = start(folder, "run", "small.yaml")
        while ended(folder) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.killpg(process.pid, interrupted_by)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (128 + interrupted_by, ""), out
    for arguments in (
        ("run", "small.yaml"),
        ("report", "--fig", "1", "--experiment", "small_facts"),
    ):
        process = start(folder, *arguments)
        out, error = process.communicate(timeout=900)
        assert (process.returncode, error) == (0, ""), out
    drawn = json.loads((folder / "reports" / "fig-1.json").read_text())
    return {name: value for name, value in drawn.items() if name != "rows"}  # has their seconds


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return figure(tmp_path_factory.mktemp("demo") / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_main_job_stopped_in_the_middle_goes_on_to_the_same_figure(
    tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals
) -> None:
    assert figure(tmp_path / "stopped", number) == undisturbed
