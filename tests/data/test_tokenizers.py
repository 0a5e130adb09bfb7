"""Every kind of tokenizer gives texts back, stays below its vocabulary, keeps its end to itself,
and says what it is.
"""

import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.data import spec
from scalelab.data.text.tokenizers import Tokenizer, is_trained, open_tokenizer, train
from scalelab.data.text.tokenizers.huggingface import HuggingFace
from scalelab.data.text.tokenizers.tiktoken import FOLDER

GPT2 = Path(os.environ.get("SCALELAB_TEST_DATA", "")) / "gpt2"
has_gpt2 = pytest.mark.skipif(
    "SCALELAB_TEST_DATA" not in os.environ,
    reason="SCALELAB_TEST_DATA names no folder with GPT-2's files",
)

KINDS = [
    "bytes",
    "tiktoken",
    pytest.param("gpt2", marks=has_gpt2),
    "trained",
    "loaded",
    "sentencepiece",
    "unigram",
]

LOOK_ALIKES = [
    "<|endoftext|>",
    "</s>",
    "<s>",
    "<unk>",
    "<0x41>",
    "<pad>",
    "\0",
    "\r\n",
    "\x85",
    "\u2028",
    "\ufeff",
    "👩\u200d🔬",
    "ﬁ",
    "e\u0301",
    "  ",
]

texts = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(LOOK_ALIKES)), max_size=6).map(
    "".join
)


def documents() -> list[str]:
    """Invented text of few words, with signs of one to four bytes."""
    draw = random.Random(0)
    words = [
        "".join(draw.choices("abcdefghiklmnoprstuvwy", k=draw.randint(1, 7))) for _ in range(300)
    ] + ["née", "漢字", "😀", "<s>", "12"]
    return [" ".join(draw.choices(words, k=40)) + ".\n" for _ in range(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained BPE, the same one in the form of GPT-2's files and with a special token for the
    end, and two SentencePiece models.
    """
    folder = tmp_path_factory.mktemp("tokenizers")
    train(spec.HuggingFace(train=400), documents(), str(folder))
    trained = json.loads((folder / "tokenizer.json").read_text())
    write_gpt2(folder, trained["model"]["merges"])
    ended = trained | {
        "added_tokens": [{**trained["added_tokens"][0], "content": "</s>", "id": 400}]
    }
    del ended["model"]["vocab"]["<|endoftext|>"]
    (folder / "ended.json").write_text(json.dumps(ended))
    write_sentencepiece(folder / "sentencepiece.model", model_type="bpe")
    write_sentencepiece(folder / "unigram.model", model_type="unigram", eos_id=-1, bos_id=-1)
    return folder


def write_gpt2(folder: Path, merges: list[list[str]]) -> None:
    plain = [chr(byte) for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    letters = plain + [chr(256 + place) for place in range(256 - len(plain))]
    ids = {
        token: rank for rank, token in enumerate([*letters, *("".join(pair) for pair in merges)])
    }
    (folder / "encoder.json").write_text(json.dumps({**ids, "<|endoftext|>": 256 + len(merges)}))
    (folder / "vocab.bpe").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""])
    )


def write_sentencepiece(path: Path, **given: Any) -> None:
    import sentencepiece

    lossless = {
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(documents()),
        model_writer=model,
        vocab_size=420,
        hard_vocab_limit=False,
        minloglevel=2,
        **lossless,
        **given,
    )
    path.write_bytes(model.getvalue())


@pytest.fixture(scope="module")
def opened(folder: Path) -> Callable[[str], Tokenizer]:
    specs = {
        "bytes": spec.Bytes(),
        "tiktoken": spec.Tiktoken(folder=str(folder)),
        "gpt2": spec.Tiktoken(folder=str(GPT2)),
        "trained": spec.HuggingFace(train=400),
        "loaded": spec.HuggingFace(source=str(folder / "ended.json")),
        "sentencepiece": spec.SentencePiece(model=str(folder / "sentencepiece.model")),
        "unigram": spec.SentencePiece(model=str(folder / "unigram.model")),
    }
    found: dict[str, Tokenizer] = {}
    return lambda kind: (
        found.get(kind) or found.setdefault(kind, open_tokenizer(specs[kind], str(folder)))
    )


def kept(kind: str, text: str) -> str:
    """What a kind gives back of a text: SentencePiece writes U+2581 for a space."""
    return text.replace("\u2581", " ") if kind in ("sentencepiece", "unigram") else text


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(text=texts)
def test_text_comes_back_and_the_end_is_never_written(
    opened: Callable[[str], Tokenizer], kind: str, text: str
) -> None:
    tokenizer = opened(kind)
    ids = tokenizer.encode(text)
    assert (ids.dtype, ids.ndim) == (np.int32, 1)
    assert tokenizer.decode(ids) == kept(kind, text)
    assert len(ids) == 0 or 0 <= ids.min() <= ids.max() < tokenizer.vocab
    assert tokenizer.eos not in ids
    assert 0 <= tokenizer.eos < tokenizer.vocab


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(many=st.lists(texts, max_size=5))
def test_a_batch_is_its_texts(
    opened: Callable[[str], Tokenizer], kind: str, many: list[str]
) -> None:
    tokenizer = opened(kind)
    batch = tokenizer.encode_batch(many)
    assert len(batch) == len(many)
    assert all(
        ids.dtype == np.int32 and np.array_equal(ids, tokenizer.encode(text))
        for ids, text in zip(batch, many, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_any_tokens_are_some_text(
    opened: Callable[[str], Tokenizer], kind: str, data: st.DataObject
) -> None:
    """A model may write anything, and a window may begin inside of a letter."""
    tokenizer = opened(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab - 1), max_size=12))
    assert tokenizer.decode(ids) == tokenizer.decode(
        [token for token in ids if token != tokenizer.eos]
    )
    assert "\ud800" not in tokenizer.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_that_is_cut_becomes_the_replacement_character(
    opened: Callable[[str], Tokenizer], kind: str
) -> None:
    tokenizer = opened(kind)
    ids = tokenizer.encode("x\U00010348")  # Gothic hwair: four bytes, and in no vocabulary
    assert len(ids) > 2
    assert tokenizer.decode(ids[:-1]).startswith("x\ufffd")
    assert tokenizer.decode(ids[-1:]).strip("\ufffd") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_edges(opened: Callable[[str], Tokenizer], kind: str) -> None:
    tokenizer = opened(kind)
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode_batch(["", "a"])[0].shape == (0,)
    assert tokenizer.decode([]) == tokenizer.decode([tokenizer.eos]) == ""
    assert np.array_equal(tokenizer.encode("a\ud800b"), tokenizer.encode("a\ufffdb"))
    assert np.array_equal(tokenizer.encode("\ud83d\ude00"), tokenizer.encode("😀"))
    for wrong in (tokenizer.vocab, -1):
        with pytest.raises(ValueError, match=f"there is no token {wrong}"):
            tokenizer.decode([wrong])


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_is_stable(opened: Callable[[str], Tokenizer], folder: Path, kind: str) -> None:
    tokenizer = opened(kind)
    assert len(tokenizer.digest) == 64
    if kind == "trained":
        assert tokenizer.digest == open_tokenizer(spec.HuggingFace(source=str(folder)), None).digest
    if kind == "bytes":
        assert tokenizer.digest.startswith("1b5ec18e"), "shards name their tokenizer by it"


def test_digests_differ(opened: Callable[[str], Tokenizer]) -> None:
    kinds = [kind for kind in KINDS if isinstance(kind, str)]
    assert len({opened(kind).digest for kind in kinds}) == len(kinds)


@has_gpt2
def test_gpt2_is_gpt2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(GPT2))
    tokenizer = open_tokenizer(spec.Tiktoken())
    assert (tokenizer.vocab, tokenizer.eos) == (50257, 50256)
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]
    sentence = "The quick brown fox jumps over the lazy dog."
    assert tokenizer.encode(sentence).tolist() == [
        464,
        2068,
        7586,
        21831,
        18045,
        625,
        262,
        16931,
        3290,
        13,
    ]
    assert tokenizer.digest == open_tokenizer(spec.Tiktoken(folder=str(GPT2))).digest
    assert tokenizer.digest.startswith("ac0d62eb"), "shards name their tokenizer by it"


def test_the_same_documents_train_the_same_tokenizer(folder: Path, tmp_path: Path) -> None:
    given = spec.HuggingFace(train=400)
    assert is_trained(given)
    assert not is_trained(spec.HuggingFace(source="gpt2"))
    again = train(given, iter(documents()), str(tmp_path))
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert again.digest == open_tokenizer(given, str(tmp_path)).digest
    assert again.vocab == 400
    other = train(given, documents()[:60], str(tmp_path))
    assert other.digest != again.digest


def test_little_text_has_few_tokens(tmp_path: Path) -> None:
    assert train(spec.HuggingFace(train=1000), ["a \ud800 b"], str(tmp_path)).vocab == 257
    with pytest.raises(UserError, match="at least 257 tokens, not 256"):
        train(spec.HuggingFace(train=256), ["a"], str(tmp_path))


def test_a_published_tokenizer_cuts_pads_and_varies_nothing(folder: Path) -> None:
    import tokenizers

    published = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    published.enable_truncation(4)
    published.enable_padding(length=9, pad_id=0)
    published.post_processor = tokenizers.processors.TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )  # pyright: ignore[reportAttributeAccessIssue]
    published.model.dropout = 0.5  # pyright: ignore[reportAttributeAccessIssue]
    plain, clean = (
        HuggingFace((folder / "tokenizer.json").read_text()),
        HuggingFace(published.to_str()),
    )
    text = documents()[0]
    assert np.array_equal(clean.encode(text), plain.encode(text))
    assert np.array_equal(clean.encode("a"), plain.encode("a"))


@pytest.mark.parametrize("special", [True, False])
def test_an_end_that_text_may_write_is_not_the_end(special: bool) -> None:
    import tokenizers

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.Unigram([("<unk>", -9.0), ("</s>", 0.0), ("a", -1.0)], unk_id=0)
    )
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(["</s>"])
    found = HuggingFace(tokenizer.to_str())
    assert (found.eos, found.vocab) == (3, 4)
    assert found.encode("a</s>").tolist() == [2, 1]


def test_loaded_ends(opened: Callable[[str], Tokenizer]) -> None:
    assert opened("loaded").eos == 400
    assert opened("trained").eos == 0
    assert opened("sentencepiece").eos == 2
    unigram = opened("unigram")
    assert unigram.eos == unigram.vocab - 1


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Empty caches, and a proxy that nothing listens at."""
    import huggingface_hub.constants
    import tiktoken.registry

    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            spec.Tiktoken(),
            (
                r"download failed .*; put GPT-2's `vocab.bpe` and `encoder.json` .* variable"
                r" SCALELAB_GPT2, or run once with a net"
            ),
        ),
        (
            spec.Tiktoken(encoding="p50k_edit"),
            (
                "`p50k_edit` is not in tiktoken's cache, and its download failed .*; run once with"
                " a network"
            ),
        ),
        (
            spec.Tiktoken(encoding="gpt-2"),
            "tiktoken knows no encoding `gpt-2`; did you mean `gpt2`",
        ),
        (
            spec.Tiktoken(encoding="p50k_base", folder="."),
            "a folder holds the files of `gpt2`, not of `p50k_base`",
        ),
        (
            spec.Tiktoken(folder="nowhere"),
            (
                "nowhere/vocab.bpe: the tokenizer can't be read .no such file or directory.; name a"
                " folder with .* in `folder`"
            ),
        ),
        (spec.HuggingFace(source="nowhere/tokenizer.json"), "there is no such tokenizer file"),
        (
            spec.HuggingFace(source="scalelab-test/no-such-model"),
            "not in the hub's cache, and its download failed",
        ),
        (spec.HuggingFace(source="not a name"), "neither a file nor a name on the hub"),
        (spec.HuggingFace(train=300), "lies with the corpus; prepare the corpus first"),
        (
            spec.SentencePiece(model="nowhere.model"),
            (
                "nowhere.model: the tokenizer can't be read .no such file or directory.; check the"
                " path"
            ),
        ),
    ],
)
def test_what_is_missing_is_an_error_with_a_cure(given: spec.Tokenizer, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        open_tokenizer(given)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[]", b'{"model": {}}'])
def test_malformed_files_are_errors_that_name_them(tmp_path: Path, content: bytes) -> None:
    for name in ("tokenizer.json", "some.model", "vocab.bpe", "encoder.json"):
        (tmp_path / name).write_bytes(content)
    path = str(tmp_path)
    wrong = [
        spec.HuggingFace(source=f"{path}/tokenizer.json"),
        spec.HuggingFace(train=300),
        spec.SentencePiece(model=f"{path}/some.model"),
        spec.Tiktoken(folder=path),
    ]
    for tokenizer in wrong:
        with pytest.raises(
            UserError,
            match=rf"^{path}.*: this is no tokenizer that can be used .*; take .*, unabridged",
        ):
            open_tokenizer(tokenizer, path)


def test_files_that_do_not_go_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vocab.bpe", "encoder.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    lines = (tmp_path / "vocab.bpe").read_text().splitlines(keepends=True)
    (tmp_path / "vocab.bpe").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="do not go together"):
        open_tokenizer(spec.Tiktoken(folder=str(tmp_path)))
    monkeypatch.setenv(FOLDER, str(folder))
    with pytest.raises(UserError, match=r"vocab.bpe: .*sha256 is another one.*openai/gpt-2"):
        open_tokenizer(spec.Tiktoken())
