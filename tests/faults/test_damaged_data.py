"""A byte of a prepared corpus that has changed on the disk: it is noticed before it is trained on,
stops the run at once, and the corpus is prepared anew where that is sure to give the same text.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command, Said
from tests.data.prose import SMALL, write_jsonl

from scalelab.core.errors import Unreadable
from scalelab.data.spec import Corpus, HuggingFace
from scalelab.data.text import tokenising
from scalelab.data.text.asking import home_of
from scalelab.data.text.draft import STATE
from scalelab.data.text.manifest import FILE, Manifest
from scalelab.data.text.mending import is_whole
from scalelab.data.text.prepare import Progress, prepare
from scalelab.tasks import describe
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.spec import Text

CONTEXT = 16

SPEC = """\
name: small
task: {{kind: text, corpus: {corpus}, context: 16}}
model: {{width: 8, layers: 1}}
budget: {{steps: 4}}
batch: 8
replicates: 2
execution: {{device: cpu}}
"""

ALL = pytest.mark.slow


def sampled(fast: int, slow: int = 1) -> list[object]:
    """Every so-manieth byte in the fast suite, and in the slow one."""
    return [pytest.param(fast, id="sample"), pytest.param(slow, id="all", marks=ALL)]


def bit_flips(path: Path, every: int) -> Iterator[int]:
    """Change one bit of each of these bytes of a file, one after the other; then it is whole."""
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(0, len(whole), every):
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        yield place
    path.write_bytes(whole)


@pytest.fixture
def task(tmp_path: Path) -> Text:
    source = write_jsonl(tmp_path / "a.jsonl", documents=60)
    corpus = Corpus(source=str(source), validation=0.1)
    return Text(corpus=corpus, tokens=HuggingFace(train=260), context=CONTEXT)


def content(task: Text, folder: str) -> tuple[object, ...]:
    """All that a trial reads of its corpus."""
    data = TextData(task, folder)
    windows = [data.stream(0, 64).at(step).tobytes() for step in range(2)]
    windows += [data.held_out(split).tobytes() for split in ("validation", "test")]
    return describe(task, folder), *windows, data.tokenizer.digest


@pytest.mark.parametrize("every", sampled(41))
def test_no_changed_byte_of_a_corpus_is_read(task: Text, tmp_path: Path, every: int) -> None:
    folder = str(tmp_path / "data")
    prepare(task.corpus, task.tokens, folder, layout=SMALL)
    whole, home = content(task, folder), Path(home_of(task, folder))
    assert is_whole(str(home))
    tried, noticed = Counter[str](), Counter[str]()
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        if path.name == "index.json":
            continue  # for other programs: it is not read here
        kind = "mds" if path.suffix == ".mds" else path.stem
        for place in bit_flips(path, every):
            tried[kind] += 1
            try:
                assert content(task, folder) == whole, (path, place)
            except Unreadable:
                noticed[kind] += 1
    assert content(task, folder) == whole
    assert noticed["mds"] == tried["mds"] > 50
    assert noticed["manifest"] > 0.8 * tried["manifest"] > 10  # spaces mean nothing
    assert noticed["tokenizer"] > 0.8 * tried["tokenizer"] > 10


@pytest.mark.parametrize("every", sampled(997, 29))
def test_no_changed_byte_of_a_draft_is_gone_on_from(
    task: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(tokenising, "BATCH", 900)

    def end_early(told: Progress) -> None:
        if told.tokens > 2000:
            raise KeyboardInterrupt

    def prepared(folder: Path) -> Manifest:
        return prepare(task.corpus, task.tokens, str(folder), layout=SMALL)

    whole = prepared(tmp_path / "whole")
    draft, again = tmp_path / "draft", tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        prepare(task.corpus, task.tokens, str(draft), end_early, layout=SMALL)
    names = sorted(path.relative_to(draft) for path in draft.rglob("*") if path.is_file())
    names = [name for name in names if name.suffix != ".mds" and not name.name.startswith(".")]
    assert [name.name for name in names if name.suffix == ".npz" or name.name == STATE]
    for name in names:
        for place in bit_flips(draft / name, every):
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(draft, again)
            assert prepared(again) == whole, (name, place)


def damage(home: Path, name: str) -> None:
    [path] = home.glob(name)
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def write_spec(corpus: str) -> None:
    Path("spec.yaml").write_text(SPEC.format(corpus=corpus))


def run(command: Command, executor: str, *options: str) -> Said:
    return command("run", "spec.yaml", "--json", "--jobs", "1", "--executor", executor, *options)


def results(command: Command, store: str) -> list[object]:
    said = command("ls", "--json", "--store", store)
    return [
        (trial["digest"], trial["state"], trial["metrics"]["test_loss"])
        for trial in said.json["trials"]
    ]


@pytest.mark.parametrize("name", ["train/*.mds", FILE])
@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=ALL)])
@pytest.mark.parametrize("source", ["tales", "a.jsonl"])
def test_a_damaged_corpus_is_prepared_anew_and_the_run_goes_on(
    command: Command, executor: str, source: str, name: str
) -> None:
    if source != "tales":
        write_jsonl(Path(source))
    write_spec(f"{{source: {source}, tokens: 20k}}")
    assert run(command, executor, "--store", "whole.db").json["outcomes"] == {"done": 2}
    [home] = Path("results/data").glob(f"{Path(source).stem}-*")
    damage(home, name)
    if source != "tales" and name == FILE:
        # What the text was when it was prepared stands in the manifest alone.
        refused = run(command, executor)
        assert refused.code == 2
        assert refused.err.count("\n") == 1
        return
    mended = run(command, executor)
    assert mended.code == 0, mended.err
    assert mended.json["outcomes"] == {"done": 2}
    aside = home.with_name(f"{home.name}.broken")
    assert sum(str(aside) in line for line in mended.err.splitlines()) == 1
    assert is_whole(str(home))
    assert not is_whole(str(aside))
    assert results(command, "results/scalelab.db") == results(command, "whole.db")


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=ALL)])
def test_a_damaged_corpus_that_cannot_be_made_again_stops_the_run(
    command: Command, executor: str
) -> None:
    source = write_jsonl(Path("a.jsonl"))
    write_spec("{source: a.jsonl}")
    command("plan", "spec.yaml")
    command("data", "prepare", "a.jsonl")
    source.unlink()
    [home] = Path("results/data").glob("a-*")
    damage(home, "train/*.mds")
    refused = run(command, executor)
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert "shard.00000.mds" in refused.err
    assert "scalelab data prepare a.jsonl" in refused.err
    states = [trial["state"] for trial in command("ls", "--json").json["trials"]]
    assert sorted(states) == ["missing", "queued"]
    write_jsonl(source)
    went_on = run(command, executor)
    assert went_on.json["outcomes"] == {"done": 2}
