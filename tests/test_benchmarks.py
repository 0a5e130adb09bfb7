"""Every benchmark runs, at toy size: it measures nothing then, but it works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))
TOY = {"SCALELAB_TOY": "1", "TORCHDYNAMO_DISABLE": "1"}  # compiling has tests of its own


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_benchmark_runs_at_toy_size(file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, file],
        cwd=tmp_path,
        env=os.environ | TOY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert any(character.isdigit() for character in done.stdout)
