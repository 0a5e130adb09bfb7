"""What the README promises: its spec compiles, its files exist, its commands and options do too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalelab.plan.plan import compile_plan
from scalelab.spec.load import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    scalelab ((?:data )?\w+)(.*?)(?:#.*)?$", README, re.MULTILINE)


def test_the_spec_of_the_readme_is_a_plan(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_spec.yaml").write_text(text)
    plan = compile_plan(*load(tmp_path / "my_spec.yaml"))
    assert len(plan.trials) == 9
    assert all(abs(planned.params.total - 16_000) <= 1_600 for planned in plan.trials)


def test_every_file_that_the_readme_names_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    named = [
        path
        for path in re.findall(r"\b(specs/[\w/]+\.yaml)", README)
        if not path.startswith("specs/found/")
    ]  # a search writes these
    assert [path for path in (*linked, *named) if not (ROOT / path).exists()] == []
    assert len(linked) >= 4


@pytest.mark.parametrize("command", sorted({name for name, _ in COMMANDS}))
def test_every_command_and_option_of_the_readme_exists(command: str) -> None:
    options = {
        option
        for name, rest in COMMANDS
        if name == command
        for option in re.findall(r"--[a-z-]+", rest)
    }
    scalelab = Path(sys.executable).with_name("scalelab")
    shown = subprocess.run(
        [scalelab, *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert [option for option in options if option not in shown] == []
