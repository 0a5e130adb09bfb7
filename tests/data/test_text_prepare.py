"""Preparing a corpus: whatever comes in between, the same bytes, and never half of them."""

import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.prose import SMALL, prose, write_jsonl, write_text

from scalelab.core.errors import UserError
from scalelab.data.spec import Bytes, Corpus, HuggingFace, Tokenizer
from scalelab.data.text import chain, documents, mds, origin, tokenising
from scalelab.data.text.asking import home
from scalelab.data.text.corpora import open_source
from scalelab.data.text.draft import STATE, Layout
from scalelab.data.text.manifest import Manifest, read
from scalelab.data.text.prepare import Progress, prepare
from scalelab.data.text.splitting import Splitter
from scalelab.data.text.tokenizers import open_tokenizer
from scalelab.tasks import describe
from scalelab.tasks.text.spec import Text

CORPORA: dict[str, Callable[[Path, int], Path]] = {
    "text": lambda folder, words: write_text(folder / "a.txt", words),
    "jsonl": lambda folder, words: write_jsonl(folder / "a.jsonl", words // 20, 20),
}
KINDS: list[Tokenizer] = [Bytes(), HuggingFace(train=400)]


@pytest.fixture(autouse=True)
def _short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short text comes in many pieces and batches."""
    monkeypatch.setattr(documents, "PIECE", 700)
    monkeypatch.setattr(tokenising, "BATCH", 900)
    monkeypatch.setattr(chain, "CHUNK", 1000)


def made(
    path: Path, folder: Path, tokenizer: Tokenizer = KINDS[0], **given: object
) -> tuple[Manifest, Path]:
    """The corpus prepared in a folder, and where it lies."""
    corpus = Corpus.model_validate({"source": str(path), "validation": 0.1, **given})
    return prepare(corpus, tokenizer, str(folder), layout=SMALL), Path(
        home(corpus, tokenizer, str(folder))
    )


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def library_reads(place: Path, split: str) -> list[np.ndarray]:
    """The blocks of a split as the library itself reads them."""
    mds.load()
    from streaming import LocalDataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its index open
        return [sample[mds.COLUMN] for sample in LocalDataset(str(place), split)]


@pytest.mark.parametrize("tokens", KINDS, ids=lambda tokens: tokens.kind)
@pytest.mark.parametrize("kind", CORPORA)
def test_shards_hold_the_documents_each_with_its_end(kind: str, tokens: Tokenizer, tmp_path: Path):
    manifest, place = made(CORPORA[kind](tmp_path, 8000), tmp_path / "data", tokens)
    tokenizer = open_tokenizer(tokens, str(place))
    parts = list(Splitter(manifest.corpus, open_source(manifest.corpus, tmp_path)).parts())
    assert (manifest.tokenizer, manifest.vocab, manifest.eos) == (
        tokenizer.digest,
        tokenizer.vocab,
        tokenizer.eos,
    )
    for name, split in manifest.splits.items():
        blocks = library_reads(place, name)
        assert {block.dtype for block in blocks} == {np.dtype(np.uint16)}
        assert [len(block) for block in blocks[:-1]] == [SMALL.block] * (len(blocks) - 1)
        found = np.concatenate(blocks)
        assert split.tokens == len(found) > SMALL.shard
        ends = np.flatnonzero(found == tokenizer.eos)
        written = [tokenizer.decode(document) for document in np.split(found, ends + 1)]
        text = "".join(part.text + "\0" * part.last for part in parts if part.split == name)
        assert [*text.split("\0")] == written
        assert (split.documents, split.bytes) == (len(ends), len(text.replace("\0", "").encode()))
        assert sum(shard.blocks for shard in split.shards) == len(blocks)
    assert {path.name for path in place.iterdir()} - {"tokenizer.json"} == {
        "manifest.json",
        "train",
        "validation",
        "test",
    }


def test_the_same_text_has_the_same_digest_wherever_it_lies(tmp_path: Path):
    first, _ = made(write_text(tmp_path / "a.txt"), tmp_path / "one")
    again, _ = made(write_text(tmp_path / "b.txt"), tmp_path / "two")
    other, _ = made(write_text(tmp_path / "c.txt", seed=1), tmp_path / "two")
    assert first.digest == again.digest != other.digest


def test_the_same_text_has_the_same_digest_however_it_is_cut(tmp_path: Path):
    path = write_text(tmp_path / "a.txt")
    first, place = made(path, tmp_path / "one")
    again = prepare(
        first.corpus, KINDS[0], str(tmp_path / "two"), layout=Layout(block=100, blocks=7)
    )
    assert first.digest == again.digest
    assert first.splits["train"].shards != again.splits["train"].shards
    for name, split in first.splits.items():
        assert (
            split.sha256
            == again.splits[name].sha256
            == hash_of(np.concatenate(library_reads(place, name)).tolist())
        )


def hash_of(tokens: list[int], size: int = 1000) -> str:
    """The hash of tokens as it is written down: one of each chunk and of the hash before, the last
    chunk shorter or empty.
    """
    link = ""
    for start in range(0, len(tokens) + 1, size):
        part = tokens[start : start + size]
        link = hashlib.sha256(link.encode() + struct.pack(f"<{len(part)}I", *part)).hexdigest()
    return link


@given(st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=30), max_size=8))
def test_a_hash_of_tokens_does_not_depend_on_how_they_come(parts: list[list[int]]):
    before, chain.CHUNK = chain.CHUNK, 10
    try:
        for dtype in (np.uint16, np.uint32):
            chained = chain.Chain("", np.empty(0, dtype))
            for part in parts:
                chained.add(np.array(part, dtype))
                chained = chain.Chain(chained.link, chained.rest)  # as it is saved and gone on with
            assert chained.digest() == hash_of([token for part in parts for token in part], 10)
    finally:
        chain.CHUNK = before


def test_more_than_16_bits_where_the_vocabulary_asks_for_it():
    assert mds.dtype_of(2**16) == np.uint16
    assert mds.dtype_of(2**16 + 1) == np.uint32


def test_processes_change_nothing(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl")
    alone, place = made(path, tmp_path / "one")
    corpus = alone.corpus
    together = prepare(corpus, Bytes(), str(tmp_path / "two"), workers=2, layout=SMALL)
    assert together == alone
    assert contents(Path(home(corpus, Bytes(), str(tmp_path / "two")))) == contents(place)


SCRIPT = """
import sys, time
from scalelab.data.text import chain, documents, tokenising
from scalelab.data.text.prepare import prepare
from scalelab.data.spec import (Corpus, HuggingFace)
from tests.data.prose import SMALL
documents.PIECE, tokenising.BATCH, chain.CHUNK = 700, 900, 1000
corpus = Corpus(source=sys.argv[1], validation=0.1)
prepare(corpus, HuggingFace(train=400), sys.argv[2], lambda told: time.sleep(0.01), layout=SMALL)
"""


@pytest.mark.parametrize("kind", ["text", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_a_killed_preparation_goes_on_to_the_same_bytes(kind: str, tmp_path: Path):
    path = CORPORA[kind](tmp_path, 12_000)
    whole, place = made(path, tmp_path / "whole", KINDS[1])
    state = Path(home(whole.corpus, KINDS[1], str(tmp_path / "killed"))) / STATE
    for checkpoint in (3, 9):
        command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "killed")]
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": f".:{os.environ.get('PYTHONPATH', '')}"},
        )
        while process.poll() is None and not (
            state.exists() and json.loads(state.read_text())["version"] >= checkpoint
        ):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(FileNotFoundError):
            read(state.parent)
    begun = json.loads(state.read_text())["version"]
    (state.parent / "train" / f"shard.{len(whole.splits['train'].shards):05}.mds").write_bytes(
        b"half"
    )
    seen: list[Progress] = []
    again = prepare(whole.corpus, KINDS[1], str(tmp_path / "killed"), seen.append, layout=SMALL)
    assert begun >= 9
    assert seen[1].tokens > SMALL.shard * 5
    assert again == whole
    left = contents(state.parent)
    assert left.pop(f"train/shard.{len(whole.splits['train'].shards):05}.mds") == b"half"
    assert left == contents(place)


def test_another_text_does_not_go_on_from_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_text(tmp_path / "a.txt")

    def stop(told: Progress) -> None:
        if told.tokens > 3 * SMALL.shard:
            raise KeyboardInterrupt

    for tokens in KINDS:
        write_text(path)
        with pytest.raises(KeyboardInterrupt):
            prepare(Corpus(source=str(path)), tokens, str(tmp_path / "one"), stop, layout=SMALL)
        write_text(path, 2100, seed=1)
        again = prepare(Corpus(source=str(path)), tokens, str(tmp_path / "one"), layout=SMALL)
        assert again == prepare(
            Corpus(source=str(path)), tokens, str(tmp_path / "two"), layout=SMALL
        )


def test_an_edit_of_equal_size_does_not_go_on_from_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_text(tmp_path / "a.txt")
    monkeypatch.setattr(origin, "END", 100)

    def stop(told: Progress) -> None:
        if told.tokens > 3 * SMALL.shard:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Corpus(source=str(path)), Bytes(), str(tmp_path / "one"), stop, layout=SMALL)
    path.write_bytes(path.read_bytes()[:300] + b"XXX" + path.read_bytes()[303:])
    again = prepare(Corpus(source=str(path)), Bytes(), str(tmp_path / "one"), layout=SMALL)
    assert again == prepare(Corpus(source=str(path)), Bytes(), str(tmp_path / "two"), layout=SMALL)


def write_at(path: Path, content: bytes, second: int) -> None:
    """Write a file with a time of its own: the clock of files may be too coarse to tell two writes
    apart.
    """
    path.write_bytes(content)
    os.utime(path, (second, second))


def test_a_source_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A plan looks at the ends of a file, a preparation at all of it."""
    monkeypatch.setattr(origin, "END", 100)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    content = write_text(tmp_path / "here" / "a.txt", 5000).read_bytes()
    corpus, data = Corpus(source="a.txt", validation=0.1), str(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "here")
    first = prepare(corpus, Bytes(), data, layout=SMALL)
    task = Text(corpus=corpus, context=8)
    monkeypatch.chdir(tmp_path / "there")
    assert describe(task, data).shards == first.digest  # there is no such file to compare with
    changed = "`a.txt` has changed since it was prepared; delete that folder"
    write_at(Path("a.txt"), content, 1)
    assert prepare(corpus, Bytes(), data, layout=SMALL) == first
    assert describe(task, data).shards == first.digest
    write_at(Path("a.txt"), content[:-50] + b"XX" + content[-48:], 2)
    for look in (
        lambda: describe(task, data),
        lambda: prepare(corpus, Bytes(), data, layout=SMALL),
    ):
        with pytest.raises(UserError, match=changed):
            look()
    assert describe(task.model_copy(update={"shards": first.digest}), data).shards == first.digest
    write_at(Path("a.txt"), content[:500] + b"XX" + content[502:], 3)
    assert describe(task, data).shards == first.digest
    with pytest.raises(UserError, match=changed):
        prepare(corpus, Bytes(), data, layout=SMALL)


def test_a_prepared_corpus_is_left_as_it_is(tmp_path: Path):
    path = write_text(tmp_path / "a.txt")
    first, place = made(path, tmp_path / "data")
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
    again, _ = made(path, tmp_path / "data")
    assert again == first
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before
    path.write_text(prose(10))
    with pytest.raises(UserError, match="has changed since it was prepared; delete that folder"):
        made(path, tmp_path / "data")


def test_two_at_a_time_take_turns(tmp_path: Path):
    path, seen, found = write_text(tmp_path / "a.txt"), [], []
    corpus = Corpus(source=str(path))

    def one() -> None:
        found.append(
            prepare(
                corpus,
                Bytes(),
                str(tmp_path / "data"),
                lambda told: seen.append(told.doing),
                layout=SMALL,
            )
        )

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert seen.count("reading the text") == 1
    assert seen.count("waiting for another process that prepares it") == 1


@pytest.mark.parametrize("tokens", KINDS, ids=lambda tokens: tokens.kind)
@pytest.mark.parametrize("kind", CORPORA)
def test_no_more_tokens_than_were_asked_for(kind: str, tokens: Tokenizer, tmp_path: Path):
    manifest, place = made(CORPORA[kind](tmp_path, 8000), tmp_path / "data", tokens, tokens=6000)
    assert sum(split.tokens for split in manifest.splits.values()) == 6000
    assert all(split.tokens > 0 for split in manifest.splits.values())
    tokenizer = open_tokenizer(tokens, str(place))
    for name, split in manifest.splits.items():
        text = tokenizer.decode(np.concatenate(library_reads(place, name)))
        assert split.bytes == pytest.approx(len(text.encode()), abs=3)


def test_a_full_disk_leaves_what_is_finished(tmp_path: Path):
    """A limit on the size of files stands for a full disk: the system refuses both to the same
    call.
    """
    path, layout = write_jsonl(tmp_path / "a.jsonl", 1000), Layout(block=256, blocks=4)
    corpus, folder = Corpus(source=str(path), validation=0.2), str(tmp_path / "full")
    whole = prepare(corpus, Bytes(), str(tmp_path / "whole"), layout=layout)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(UserError) as raised:
            prepare(corpus, Bytes(), folder, layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    place = Path(home(corpus, Bytes(), folder))
    assert (
        str(raised.value) == f"{place}: the disk is full; what is finished stays; make room; "
        f"`scalelab data prepare {path} --validation 0.2 --folder {folder}` goes on from there"
    )
    done = {shard.name: shard.stat().st_mtime_ns for shard in (place / "train").glob("*.mds")}
    assert len(done) >= 1
    assert prepare(corpus, Bytes(), folder, layout=layout) == whole


@pytest.mark.parametrize("kind", CORPORA)
def test_memory_does_not_grow_with_the_corpus(kind: str, tmp_path: Path):
    layout, peaks = Layout(block=1024, blocks=16), []
    made(write_text(tmp_path / "warm.txt"), tmp_path / "data")
    for size in (50_000, 250_000):
        path = CORPORA[kind](tmp_path, size)
        tracemalloc.start()
        prepare(Corpus(source=str(path)), Bytes(), str(tmp_path / str(size)), layout=layout)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n", "has no text for the splits train, validation"),
        ("ab", "has no text for the splits train"),
    ],
)
def test_a_corpus_too_short_to_split(text: str, says: str, tmp_path: Path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=says):
        made(tmp_path / "a.txt", tmp_path / "data")


def test_a_remote_is_not_prepared_in(tmp_path: Path):
    with pytest.raises(UserError, match="not in s3://bucket/data; name a local --folder"):
        prepare(Corpus(source="shakespeare"), Bytes(), "s3://bucket/data")


def test_text_on_this_machine_needs_no_extra_and_a_remote_asks_for_it_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "streaming", None)  # as where it is not installed
    made(write_text(tmp_path / "a.txt"), tmp_path / "data")
    with pytest.raises(
        UserError, match=r"which is not installed; pip install 'scalelab\[streaming\]'"
    ):
        mds.download("s3://bucket/shard.mds", tmp_path / "shard.mds")
