"""`compare` tells in what two trials differ, and no two runs take the same time."""

import json
import sys
from pathlib import Path

import pytest

from scalelab.cli import main
from scalelab.core.events import Ended, Started
from scalelab.plan.plan import compile_plan
from scalelab.run.driver import register
from scalelab.spec.load import load
from scalelab.store import open_store

SPEC = """
name: pair
budget: {steps: 12}
task: {people: 2, templates: 1}
model: {width: 4}
replicates: 2
"""


def test_how_fast_two_trials_were_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    plan = compile_plan(*load(tmp_path / "spec.yaml"))
    with open_store(tmp_path / "store.db", mode="write") as store:
        register(plan, store)
        for number, planned in enumerate(plan.trials):
            store.claim(planned.digest, "owner")
            attempt = store.begin(planned.digest, Started({}), {}, "owner")
            speeds = dict.fromkeys(
                ("seconds", "tokens_per_second", "flops_per_second", "mfu"), 1.0 + number
            )
            store.end(
                planned.digest,
                attempt,
                Ended("done", 12, 1.0, {"recall": number / 2, "bits": 3.0, **speeds}),
            )
    first, second = (planned.digest for planned in plan.trials)
    monkeypatch.setattr(
        sys,
        "argv",
        ["scalelab", "compare", first, second, "--store", str(tmp_path / "store.db"), "--json"],
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    different = json.loads(capsys.readouterr().out)["different"]
    assert set(different) == {"seed", "metrics.recall"}
