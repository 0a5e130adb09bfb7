"""`scalelab data prepare`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.data.prose import write_text

from scalelab.data.text.manifest import NotPrepared
from scalelab.tasks import describe
from scalelab.tasks.text.spec import Text


def test_a_corpus_is_prepared_and_counted(command: Command, tmp_path: Path):
    write_text(tmp_path / "a.txt", 5000)
    said = command("data", "prepare", "a.txt", "--validation", "0.1", "--workers", "1")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[:2] == ["a.txt: reading the text", "a.txt: tokenising"]
    assert lines[2].startswith("a.txt is prepared in results/data/a-")
    again = command("data", "prepare", "a.txt", "--validation", "0.1")
    assert again.out.splitlines() == lines[2:]


def test_the_manifest_is_the_answer_as_json(command: Command, tmp_path: Path):
    write_text(tmp_path / "a.txt", 2000)
    said = command(
        "data",
        "prepare",
        "a.txt",
        "--tokens",
        "bpe:300",
        "--limit",
        "2k",
        "--json",
        "--workers",
        "1",
    )
    assert said.code == 0, said.err
    assert "tokenising" in said.err
    assert said.json["tokens"] == {"kind": "huggingface", "source": None, "train": 300}
    assert sum(split["tokens"] for split in said.json["splits"].values()) == 2000
    task = Text.model_validate(
        {
            "corpus": {"source": "a.txt", "tokens": 2000},
            "tokens": {"kind": "huggingface", "train": 300},
            "context": 8,
        }
    )
    assert describe(task, "results/data").shards == said.json["digest"]


def test_the_cure_of_a_missing_corpus_prepares_it(command: Command, tmp_path: Path):
    write_text(tmp_path / "a.txt", 2000)
    task = Text.model_validate(
        {"corpus": {"source": "a.txt", "validation": 0.2, "split": 3}, "context": 8}
    )
    with pytest.raises(NotPrepared) as raised:
        describe(task, str(tmp_path / "data"))
    cure = raised.value.cure.removeprefix("run `scalelab ").removesuffix("`")
    assert command(*cure.split(" "), "--workers", "1").code == 0
    assert describe(task, str(tmp_path / "data")).vocab == 257


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["nothing.txt"], "there is no corpus `nothing.txt`"),
        (["shakespeer"], "did you mean `shakespeare`?"),
        (
            ["smollm"],
            (
                "`smollm` is streamed, and has no end; say how many tokens to prepare, such as"
                " --limit 100M"
            ),
        ),
        (["a.txt", "--tokens", "words"], "--tokens: `words` is no tokenizer; take `bytes`, `gpt2`"),
        (
            ["a.txt", "--tokens", "bpe:many"],
            "--tokens: `bpe:many` is no tokenizer; write a vocabulary like bpe:8192",
        ),
        (
            ["a.txt", "--limit", "lots"],
            "--limit: 'lots' is not a number; write it like 16, 10k or 1e6",
        ),
        (["a.txt", "--validation", "0.7"], "--validation: input should be less than 0.5"),
        (["a.txt", "--field", "body"], "a.jsonl:1: there is no field `body`"),
    ],
)
def test_what_is_wrong_is_a_sentence(given: list[str], says: str, command: Command, tmp_path: Path):
    write_text(tmp_path / "a.txt", 10)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    said = command(
        "data",
        "prepare",
        *[part.replace("a.txt", "a.jsonl") if "--field" in given else part for part in given],
    )
    assert said.code == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path):
    pty = pytest.importorskip("pty")
    write_text(tmp_path / "a.txt", 2000)
    ours, theirs = pty.openpty()
    arguments = [str(Path(sys.executable).parent / "scalelab"), "data", "prepare", "a.txt"]
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    assert "━".encode() in shown
    assert b"is prepared in results/data/a-" in shown
