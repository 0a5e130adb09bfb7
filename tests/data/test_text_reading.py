"""Windows of a prepared corpus: their order, and what is said where a shard is not what was
prepared.
"""

import copy
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.prose import SMALL, prose, write_jsonl

from scalelab.core.errors import Unreadable, UserError
from scalelab.data.spec import Bytes, Corpus, HuggingFace, SentencePiece, Tiktoken, Tokenizer
from scalelab.data.text import mds, reading
from scalelab.data.text.asking import command, home_of, parse_tokenizer, written
from scalelab.data.text.manifest import FILE, Manifest, NotPrepared, digest, read, save
from scalelab.data.text.prepare import prepare
from scalelab.data.text.tokenizers import train
from scalelab.data.text.windows import Order, count
from scalelab.tasks import build, describe
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.spec import Text

CONTEXT = 24


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Text, str]:
    """A task and the folder that its corpus is prepared in."""
    at = tmp_path_factory.mktemp("prepared")
    task = Text(
        corpus=Corpus(source=str(write_jsonl(at / "a.jsonl")), validation=0.1), context=CONTEXT
    )
    prepare(task.corpus, task.tokens, str(at / "data"), layout=SMALL)
    return task, str(at / "data")


@pytest.fixture
def copied(prepared: tuple[Text, str], tmp_path: Path) -> tuple[Text, str]:
    """The same in a folder that may be changed."""
    task, folder = prepared
    shutil.copytree(folder, tmp_path / "data")
    return task, str(tmp_path / "data")


def running_text(task: Text, folder: str, split: str) -> np.ndarray:
    """A split's tokens, read one by one out of the bytes of its shards (see the MDS format)."""
    tokens: list[np.ndarray] = []
    for path in sorted(Path(home_of(task, folder), split).glob("*.mds")):
        content = path.read_bytes()
        samples = int(np.frombuffer(content[:4], np.uint32)[0])
        offsets = np.frombuffer(content[4 : 4 * samples + 8], np.uint32)
        samples_read = [content[start:stop] for start, stop in pairwise(offsets)]
        tokens += [
            np.frombuffer(sample[4 + _header(sample) :], np.uint16) for sample in samples_read
        ]
    return np.concatenate(tokens).astype(np.int32)


def _header(sample: bytes) -> int:
    """Bytes in front of an array of one dimension: a byte that tells the type of its length, and
    the length.
    """
    return 1 + {0: 1, 1: 2, 2: 4, 3: 8}[sample[4] & 3]


def windows_of(tokens: np.ndarray, context: int = CONTEXT) -> np.ndarray:
    rows = count(len(tokens), context)
    return np.stack([tokens[row * context : (row + 1) * context + 1] for row in range(rows)])


def test_a_pass_shows_every_window_once(prepared: tuple[Text, str]):
    data = TextData(*prepared)
    expected = windows_of(running_text(*prepared, "train"))
    assert data.shape.sequences == len(expected) > 500
    stream, batch = data.stream(3, 7), 7
    steps = -(-2 * len(expected) // batch)
    shown = np.concatenate([stream.at(step) for step in range(steps)])
    assert shown.dtype == np.int32
    for turn in range(2):
        part = shown[turn * len(expected) : (turn + 1) * len(expected)]
        assert Counter(map(bytes, part)) == Counter(map(bytes, expected.astype(np.int32)))
    assert not np.array_equal(shown[: len(expected)], shown[len(expected) : 2 * len(expected)])
    assert not np.array_equal(shown[: len(expected)], expected)


def test_an_update_is_a_pure_function_of_its_number(
    prepared: tuple[Text, str], monkeypatch: pytest.MonkeyPatch
):
    steps = [0, 500, 3, 119, 120, 3]
    expected = [TextData(*prepared).stream(3, 8).at(step) for step in steps]
    stream = TextData(*prepared).stream(3, 8)
    assert all(
        np.array_equal(stream.at(step), batch) for step, batch in zip(steps, expected, strict=True)
    )
    assert not np.array_equal(TextData(*prepared).stream(4, 8).at(3), expected[2])
    monkeypatch.setattr(reading, "KEPT", 1)  # two blocks
    stream = TextData(*prepared).stream(3, 8)
    assert all(
        np.array_equal(stream.at(step), batch) for step, batch in zip(steps, expected, strict=True)
    )


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 200), st.integers(0, 5))
def test_groups_are_shown_one_after_the_other(windows: int, context: int, group: int, seed: int):
    order, size = Order(windows, context, seed, group), max(1, group // context)
    for turn in range(2):
        shown = order.at(np.arange(turn * windows, (turn + 1) * windows))
        assert sorted(shown) == list(range(windows))
        groups = [
            number
            for at, number in enumerate(shown // size)
            if not at or shown[at - 1] // size != number
        ]
        assert sorted(groups) == sorted(set(groups))
    straddling = order.at(np.arange(2 * windows))
    assert np.array_equal(straddling[windows:], shown)


def test_windows_may_be_longer_than_blocks(prepared: tuple[Text, str]):
    task = prepared[0].model_copy(update={"context": 3 * SMALL.block + 5})
    data = TextData(task, prepared[1])
    assert np.array_equal(
        data.held_out("test"), windows_of(running_text(*prepared, "test"), task.context)
    )


def test_held_out_windows_are_always_the_same(prepared: tuple[Text, str]):
    expected = windows_of(running_text(*prepared, "validation"))
    data = TextData(*prepared)
    assert np.array_equal(data.held_out("validation"), expected)
    assert np.array_equal(data.held_out("validation", 10**6), expected)
    some = data.held_out("validation", 5)
    assert np.array_equal(some, expected[np.arange(5) * len(expected) // 5])
    assert data.held_out("validation", 0).shape == (0, CONTEXT + 1)


def test_a_task_is_described_from_the_manifest_alone(copied: tuple[Text, str]):
    task, folder = copied
    for path in Path(folder).rglob("*.mds"):
        path.unlink()
    shape = describe(task, folder)
    assert (shape.vocab, shape.context, shape.targets, shape.mean_tokens) == (
        257,
        CONTEXT,
        CONTEXT,
        CONTEXT,
    )
    assert shape.shards == read(Path(home_of(task, folder))).digest
    masked = Text.model_validate({**task.model_dump(), "objective": {"kind": "masked"}})
    assert describe(masked, folder).vocab == 258
    assert describe(masked, folder).targets == round(0.15 * CONTEXT)


def test_bytes_of_a_token(prepared: tuple[Text, str]):
    data = build(prepared[0], prepared[1])
    tokens = running_text(*prepared, "test")
    assert data.bytes_per_token("test") == pytest.approx((tokens != 256).mean())


def test_a_corpus_that_is_not_prepared_says_how(tmp_path: Path):
    task = Text.model_validate(
        {"corpus": {"source": "my texts/a.txt", "tokens": 2000, "split": 3}, "tokens": "gpt2"}
    )
    for make in (describe, build):
        with pytest.raises(NotPrepared) as raised:
            make(task, str(tmp_path))
        said = (
            "run `scalelab data prepare 'my texts/a.txt' --tokens gpt2 --limit 2000 --split-seed 3"
            f" --folder {tmp_path}`"
        )
        assert said in str(raised.value)
        placed = copy.copy(
            raised.value.at("spec.yaml:3")
        )  # as it is sent from one process to another
        assert isinstance(placed, NotPrepared)
        assert (placed.task, placed.folder, placed.where) == (task, str(tmp_path), "spec.yaml:3")


@pytest.mark.parametrize(
    "tokens",
    [
        Bytes(),
        Tiktoken(),
        Tiktoken(folder="gpt2 files"),
        Tiktoken(encoding="cl100k_base"),
        HuggingFace(train=8192),
        HuggingFace(source="a/tokenizer.json"),
        HuggingFace(source="owner/name"),
        SentencePiece(model="a.model"),
    ],
)
def test_a_tokenizer_is_written_as_it_is_read(tokens: Tokenizer):
    assert parse_tokenizer(written(tokens)) == tokens


def test_other_corpora_and_tokenizers_lie_elsewhere():
    task = Text()
    others = [
        task,
        Text.model_validate({"tokens": "gpt2"}),
        Text.model_validate({"corpus": {"split": 1}}),
        Text(corpus=Corpus(source="x")),
    ]
    assert len({home_of(other, "data") for other in others}) == len(others)
    assert home_of(task, "data") == home_of(
        task.model_copy(update={"context": 9, "documents": "apart"}), "data/"
    )
    assert command(Corpus(), Bytes(), "results/data") == "scalelab data prepare tales"


def test_a_path_is_the_same_corpus_with_its_variables_and_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/data")
    monkeypatch.setenv("CORP", "/data/corp.txt")
    homes = {
        home_of(Text(corpus=Corpus(source=source, split=1)), "d")
        for source in ("~/corp.txt", "$CORP", "$HOME/corp.txt", "/data/corp.txt")
    }
    assert homes == {"d/corp-7cae2c8f"}
    others = ("corp.txt", "shakespeare", "owner/name@rev")
    # As they were named before: what was prepared then is found.
    assert [home_of(Text(corpus=Corpus(source=source, split=1)), "d") for source in others] == [
        "d/corp-7bd68f42",
        "d/shakespeare-0a51bc2d",
        "d/name-rev-9fe62b3e",
    ]
    assert home_of(Text(corpus=Corpus(source="shakespeare")), "d") == "d/shakespeare-0c537980"
    assert home_of(Text(), "d") == home_of(Text(corpus=Corpus(source="tales")), "d")


def test_shards_of_another_text_are_refused(prepared: tuple[Text, str]):
    task, folder = prepared
    found = describe(task, folder).shards
    assert describe(task.model_copy(update={"shards": found}), folder).shards == found
    with pytest.raises(
        UserError, match=f"the shards of .* are {(found or '')[:10]}, and the trial is about ffff"
    ):
        TextData(task.model_copy(update={"shards": "f" * 64}), folder)


def test_a_split_shorter_than_one_context(prepared: tuple[Text, str]):
    task = prepared[0].model_copy(update={"context": 6000})
    with pytest.raises(
        UserError,
        match=r"the (validation|test) split .* has [\d,]+ tokens, too few for a context of 6,000",
    ):
        describe(task, prepared[1])


def test_a_tokenizer_that_does_not_match(tmp_path: Path):
    task = Text(
        corpus=Corpus(source=str(write_jsonl(tmp_path / "a.jsonl"))),
        tokens=HuggingFace(train=300),
        context=CONTEXT,
    )
    prepare(task.corpus, task.tokens, str(tmp_path / "data"), layout=SMALL)
    data = TextData(task, str(tmp_path / "data"))
    assert data.tokenizer.digest == data.manifest.tokenizer
    train(HuggingFace(train=300), [prose(500, seed=9)], home_of(task, str(tmp_path / "data")))
    with pytest.raises(UserError, match="the shards were made with another tokenizer"):
        _ = TextData(task, str(tmp_path / "data")).tokenizer


def shard(task: Text, folder: str) -> Path:
    return Path(home_of(task, folder), "train", "shard.00002.mds")


def test_a_missing_or_short_shard_is_named_when_the_corpus_is_opened(copied: tuple[Text, str]):
    path = shard(*copied)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UserError,
        match=rf"{path}: this shard has \d+ bytes instead of \d+; delete the folder .* and run `",
    ):
        TextData(*copied).stream(0, 1)
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: this shard is missing"):
        TextData(*copied).held_out("validation")


def test_a_changed_shard_is_named_when_it_is_touched(copied: tuple[Text, str]):
    path = shard(*copied)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    stream = TextData(*copied).stream(0, 2000)
    with pytest.raises(UserError, match=f"{path}: this shard is corrupt"):
        stream.at(0)


def test_a_token_beyond_the_vocabulary_is_named(copied: tuple[Text, str], tmp_path: Path):
    path = shard(*copied)
    blocks = [np.full(SMALL.block, 300, np.uint16)] * SMALL.blocks
    size, sha256 = mds.write(blocks, path)
    place = Path(home_of(*copied))
    data = read(place).model_dump()
    data["splits"]["train"]["shards"][2].update(bytes=size, sha256=sha256)
    save(place, Manifest.model_validate(data))
    stream = TextData(*copied).stream(0, 2000)
    with pytest.raises(
        UserError, match=f"{path}: this shard holds the token 300, and its tokenizer ends at 256"
    ):
        stream.at(0)


def test_a_manifest_that_is_none_is_named(copied: tuple[Text, str]):
    path = Path(home_of(*copied), FILE)
    path.write_text("{")
    with pytest.raises(UserError, match=f"{path}: this is no manifest"):
        describe(*copied)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("splits.train.shards.0.file", "../../../elsewhere"),
        ("splits.train.shards.0.file", "/etc/passwd"),
        ("splits.train.shards.0.file", "train/../../shard.00000.mds"),
        ("splits.train.shards.0.blocks", 10**9),
        ("splits.train.tokens", 10**15),
        ("splits.test.shards", []),
        ("block", 0),
        ("vocab", 0),
        ("vocab", 10**30),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(copied: tuple[Text, str], change: str, value: object):
    path = Path(home_of(*copied), FILE)
    data = json.loads(path.read_text())
    *above, last = change.split(".")
    place = data
    for key in above:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="this is no manifest"):
        describe(*copied)


def test_a_manifest_of_few_splits_is_refused(copied: tuple[Text, str]):
    path = Path(home_of(*copied), FILE)
    data = json.loads(path.read_text())
    del data["splits"]["test"]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="this is no manifest"):
        describe(*copied)


def test_the_digest_is_of_the_content(prepared: tuple[Text, str]):
    manifest = read(Path(home_of(*prepared)))
    assert manifest.digest == digest(
        manifest.tokenizer, manifest.vocab, manifest.eos, manifest.splits
    )


def test_a_remote_is_read_shard_by_shard(
    prepared: tuple[Text, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    task, folder = prepared
    data = TextData(task, f"file://{folder}")
    assert data.shape == describe(task, folder)
    assert np.array_equal(data.held_out("test", 1), TextData(task, folder).held_out("test", 1))
    assert [path.name for path in (tmp_path / "cache").rglob("*.mds")] == ["shard.00000.mds"]
    many = [TextData(task, f"file://{folder}") for _ in range(3)]
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda data=data: found.append(data.stream(0, 500).at(0)))
        for data in many
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [
        np.array_equal(batch, TextData(task, folder).stream(0, 500).at(0)) for batch in found
    ] == [True] * 3
    cached = next((tmp_path / "cache").rglob("train/*.mds"))
    cached.write_bytes(bytes(cached.stat().st_size))
    healed = TextData(task, f"file://{folder}").stream(0, 500).at(0)
    assert np.array_equal(healed, found[0])


def test_a_damaged_shard_of_a_remote_is_named(
    copied: tuple[Text, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    path = shard(*copied)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(Unreadable, match=f"file://{path}: this shard is corrupt") as fault:
        TextData(copied[0], f"file://{copied[1]}").stream(0, 2000).at(0)
    assert fault.value.home == "", "it is not mended from here"


def test_what_a_remote_lacks_is_named(
    copied: tuple[Text, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    task, folder = copied
    shard(task, folder).unlink()
    with pytest.raises(
        UserError,
        match=(
            r"shard\.00002\.mds: the shard is missing; copy the prepared folder to the remote again"
        ),
    ):
        TextData(task, f"file://{folder}").stream(0, 500).at(0)
    with pytest.raises(NotPrepared):
        describe(task, f"file://{tmp_path}/nothing")
    with pytest.raises(
        UserError,
        match=r"shards can't be read from this kind of remote; known are file://, .*s3://",
    ):
        describe(task, "gopher://host/data")


@pytest.fixture
def bucket(
    prepared: tuple[Text, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """The prepared folder behind the part of S3's protocol that reading takes; returns its URL."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    root = Path(prepared[1]).parent
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    yield "s3://data"
    server.shutdown()
    server.server_close()


def test_s3_is_read(prepared: tuple[Text, str], bucket: str):
    task, folder = prepared
    assert np.array_equal(
        TextData(task, bucket).held_out("test"), TextData(task, folder).held_out("test")
    )
    with pytest.raises(
        NotPrepared,
        match=r"is not prepared in s3://data; run `scalelab data prepare .*` and copy the folder",
    ):
        describe(task.model_copy(update={"tokens": HuggingFace(train=512)}), bucket)


def test_reading_leaves_shared_memory_alone(prepared: tuple[Text, str]):
    """A killed process would leave it behind, and the next one would trip over it."""
    shared = Path("/dev/shm")
    before = sorted(shared.glob("*"))
    TextData(*prepared).stream(0, 100).at(0)
    assert sorted(shared.glob("*")) == before
