"""`~` and `$NAME` in every path that a command line, a spec or the environment may name."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli.conftest import Command
from tests.data.prose import write_text

from scalelab.cli.app import app

PLACES = {
    "store", "data", "out", "csv", "mapping", "artifacts", "space", "folder", "spec", "source",
    "compiled", "widths",
}  # fmt: skip
"""What parameters of commands that name a place are called."""

OTHERS = {("prepare", "source"), ("generate", "compiled")}
"""A corpus may be a name, and is kept as it is written; `generate --compile` is a switch."""

SPEC = """\
name: small
model: {width: 8, layers: 1, heads: 1}
task: {kind: facts, people: 2}
budget: {steps: 2}
execution: {data: $RUNS/data}
"""
TABLE = "params,tokens,loss\n" + "".join(
    f"{n},{d},{2 + 400 * n**-0.3 + 900 * d**-0.3}\n"
    for n in (10**6, 10**7, 10**8)
    for d in (10**8, 10**9, 10**10)
)
MAPPING = """\
experiment: mine
columns: {params.total: params, budget.tokens: tokens, metrics.loss: loss}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with files, which is not the current folder."""
    found = tmp_path / "home"
    (found / "runs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(found))
    monkeypatch.setenv("RUNS", "~/runs")
    monkeypatch.delenv("NOWHERE", raising=False)
    (found / "spec.yaml").write_text(SPEC)
    (found / "t.csv").write_text(TABLE)
    (found / "m.yaml").write_text(MAPPING)
    write_text(found / "a.txt", 3000)
    return found


def parameters() -> Iterator[tuple[str, Any]]:
    """Every parameter of every command, with the name of its command."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield from ((name, parameter) for parameter in command.params)
        for child, inner in getattr(command, "commands", {}).items():
            yield from below(child, inner)

    yield from below("scalelab", typer.main.get_command(app))


def test_every_option_of_a_path_is_expanded() -> None:
    found = {
        (command, parameter.name): parameter.callback
        for command, parameter in parameters()
        if parameter.name in PLACES and (command, parameter.name) not in OTHERS
    }
    assert len(found) > 25
    assert {place for place, callback in found.items() if callback is None} == set()


def test_a_store_lies_in_the_home_folder(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = command("import", "~/t.csv", "--mapping=~/m.yaml", "--store=~/x.db")
    assert said.code == 0, said.err
    assert (home / "x.db").is_file()
    monkeypatch.setenv("SCALELAB_STORE", "$RUNS/y.db")
    assert command("import", "$RUNS/../t.csv", "--mapping", "~/m.yaml").code == 0
    assert (home / "runs" / "y.db").is_file()
    said = command("export", "--store", "~/x.db", "--out=~/tables")
    assert said.code == 0, said.err
    assert (home / "tables").is_dir()
    law = home / "law.yaml"
    law.write_text("formula: E + A*N^-alpha + B*D^-beta\n")
    said = command("fit", "~/law.yaml", "--csv=~/t.csv", "--mapping=~/m.yaml", "--bootstrap=0")
    assert said.code == 0, said.err
    assert not (tmp_path / "~").exists()


def test_specs_name_places_as_options_do(command: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: ~/spec.yaml\nname: mine\n")
    said = command("run", "mine.yaml", "--executor=inline", "--store=~/r.db", "--artifacts=~/kept")
    assert said.code == 0, said.err
    assert list((home / "kept").iterdir())
    assert not (tmp_path / "~").exists()
    (tmp_path / "space.yaml").write_text(
        "name: s\nbase: $RUNS/../spec.yaml\nsearch: {model.width: {int: [8, 16]}}\n"
        "objectives: {recall: maximize}\n"
    )
    assert command("optimize", "--space", "space.yaml", "--dry-run").code == 0
    shutil.copy(tmp_path / "space.yaml", home)
    assert command("optimize", "--space=~/space.yaml", "--dry-run").code == 0


def test_a_corpus_and_its_tokenizer_lie_in_the_home_folder(command: Command, home: Path) -> None:
    said = command(
        "data", "prepare", "~/a.txt", "--tokens=bpe:300", "--folder=$RUNS", "--json", "--workers=1"
    )
    assert said.code == 0, said.err
    made = Path(said.json["folder"])
    assert made.parent == home / "runs"
    assert said.json["corpus"]["source"] == "~/a.txt"
    shutil.copy(made / "tokenizer.json", home)
    said = command(
        "data", "prepare", "~/a.txt", "--tokens=~/tokenizer.json", "--folder=~/data", "--workers=1"
    )
    assert said.code == 0, said.err
    (home / "text.yaml").write_text(
        "name: t\nmodel: {width: 8, layers: 1, heads: 1}\nbudget: {steps: 2}\n"
        "task: {kind: text, corpus: ~/a.txt, context: 8,"
        " tokens: {kind: huggingface, source: ~/tokenizer.json}}\n"
        "execution: {data: ~/data}\n"
    )
    assert command("plan", "~/text.yaml").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--store", "$NOWHERE/x.db"],
        ["plan", "$NOWHERE/spec.yaml"],
        ["export", "--out", "${NOWHERE}"],
        ["data", "prepare", "$NOWHERE/a.txt"],
        ["data", "prepare", "a.txt", "--tokens", "$NOWHERE/x.json"],
        ["plan", "spec.yaml", "--set", "execution.data=$NOWHERE"],
        ["fit", "$NOWHERE/law.yaml", "--experiment", "mine"],
        ["optimize", "--space", "$NOWHERE/space.yaml"],
    ],
)
def test_an_unknown_variable_is_named(
    command: Command, home: Path, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    write_text(tmp_path / "a.txt", 3000)
    before = sorted(tmp_path.rglob("*"))
    said = command(*arguments)
    assert said.code == 2
    assert "`$NOWHERE`" in said.err
    assert sorted(tmp_path.rglob("*")) == before
