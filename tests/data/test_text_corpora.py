"""Documents of every kind of file, their pieces, and their splits."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.prose import prose, write_jsonl, write_text

from scalelab.core.errors import UserError
from scalelab.data.spec import Corpus, Tiktoken
from scalelab.data.text import documents
from scalelab.data.text.corpora import FileSource, open_source
from scalelab.data.text.documents import PIECE, Piece, pieces
from scalelab.data.text.splitting import FEW, Part, Position, Splitter
from scalelab.data.text.tokenizers import open_tokenizer

has_gpt2 = pytest.mark.skipif(
    "SCALELAB_TEST_DATA" not in os.environ,
    reason="SCALELAB_TEST_DATA names no folder with GPT-2's files",
)


def write_parquet(path: Path, texts: list[str | None], column: str = "text") -> Path:
    pyarrow.parquet.write_table(
        pyarrow.table({column: texts, "id": range(len(texts))}), path, row_group_size=100
    )
    return path


def source(path: Path, field: str = "text") -> FileSource:
    opened = open_source(Corpus(source=str(path), field=field), path.parent)
    assert isinstance(opened, FileSource)
    return opened


def texts(found: Iterator[Piece]) -> list[str]:
    """The documents' texts."""
    joined: dict[int, str] = {}
    for piece in found:
        joined[piece.document] = joined.get(piece.document, "") + piece.text
    assert list(joined) == list(range(len(joined)))
    return list(joined.values())


def splitter(path: Path, **changes: object) -> Splitter:
    corpus = Corpus.model_validate({"source": str(path), **changes})
    return Splitter(corpus, open_source(corpus, path.parent))


def by_split(parts: Iterator[Part]) -> dict[str, str]:
    found: dict[str, str] = {"train": "", "validation": "", "test": ""}
    for part in parts:
        found[part.split] += part.text + ("|" if part.last else "")
    return found


def test_a_text_file_is_one_document_with_its_newlines(tmp_path: Path):
    path = tmp_path / "notes.md"
    path.write_bytes("\ufeffone\r\ntwo\n\n\nthree é".encode())
    assert texts(source(path).pieces("train", 0)) == ["one\r\ntwo\n\n\nthree é"]


def test_rows_of_jsonl_and_parquet_are_documents(tmp_path: Path):
    rows: list[str | None] = [prose(20, number) for number in range(250)]
    rows[3] = None
    lines = "".join(json.dumps({"body": row}) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines.replace("\n", "\n\n", 1))
    write_parquet(tmp_path / "rows.parquet", rows, column="body")
    for name in ("rows.jsonl", "rows.parquet"):
        opened = source(tmp_path / name, "body")
        assert texts(opened.pieces("train", 0)) == [row or "" for row in rows]
        assert opened.share == 1.0
        later = [piece for piece in opened.pieces("train", 120) if piece.document >= 120]
        assert [piece.text for piece in later] == rows[120:]


def test_a_folder_is_read_by_name(tmp_path: Path):
    (tmp_path / "inner").mkdir()
    write_text(tmp_path / "b.txt", 10, seed=1)
    write_text(tmp_path / "inner" / "c.txt", 10, seed=2)
    write_jsonl(tmp_path / "a.jsonl", 3, 5)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert texts(source(tmp_path).pieces("train", 0)) == [
        *(prose(5, number) for number in range(3)),
        prose(10, 1),
        prose(10, 2),
    ]


@given(
    st.lists(
        st.sampled_from(["word ", "\n", "\n\n", " \n  x", "漢字", "long" * 9, "."]), max_size=60
    ).map("".join)
)
def test_pieces_are_short_and_make_up_the_text(text: str):
    documents.PIECE = 20
    try:
        found = list(pieces(0, [text[:7], text[7:]]))
    finally:
        documents.PIECE = PIECE
    assert "".join(piece.text for piece in found) == text
    assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
    assert all(0 < len(piece.text) <= 21 for piece in found[:-1])


@has_gpt2
def test_gpt2_encodes_pieces_to_what_it_encodes_the_text_to(monkeypatch: pytest.MonkeyPatch):
    folder = Path(os.environ["SCALELAB_TEST_DATA"])
    tokenizer = open_tokenizer(Tiktoken(folder=str(folder / "gpt2")))
    text = (folder / "tinyshakespeare.txt").read_text()[:200_000] + (
        folder / "wikitext2" / "valid.txt"
    ).read_text()[:200_000]
    monkeypatch.setattr(documents, "PIECE", 5000)
    found = list(pieces(0, [text]))
    assert len(found) > 50
    assert [token for piece in found for token in tokenizer.encode(piece.text)] == tokenizer.encode(
        text
    ).tolist()


def test_one_text_is_cut_where_lines_end(tmp_path: Path):
    text = prose(5000)
    path = tmp_path / "a.txt"
    path.write_text(text)
    found = by_split(splitter(path, validation=0.1).parts())
    assert "".join(found.values()).replace("|", "") == text
    assert [found[split].count("|") for split in found] == [1, 1, 1]
    for split in ("train", "validation"):
        assert found[split].endswith("\n|")
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert len(found[split]) == pytest.approx(share * len(text), abs=200)


def test_a_text_without_lines_is_cut_anywhere(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("x" * 20_000)
    found = by_split(splitter(path).parts())
    assert [len(text) - 1 for text in found.values()] == [18_000, 1000, 1000]


def test_many_documents_are_dealt_out_by_their_number(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", 2000, 5)
    where = {part.at.document: part.split for part in splitter(path, validation=0.1).parts()}
    assert set(where) == {number for number in range(2000) if number % 50 != 7}
    shares = Counter(where.values())
    assert shares["test"] == pytest.approx(196, abs=50)
    assert shares["validation"] == pytest.approx(196, abs=50)
    path.write_text(path.read_text().replace("a", "b") + '{"text": "more"}\n')
    again = {part.at.document: part.split for part in splitter(path, validation=0.1).parts()}
    assert where.items() <= again.items()
    moved = {
        part.at.document: part.split for part in splitter(path, validation=0.1, split=1).parts()
    }
    assert sum(moved[number] != where[number] for number in where) > 200


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: write_text(folder / "a.txt"),
        lambda folder: write_jsonl(folder / "a.jsonl", FEW + 100),
    ],
)
def test_what_is_behind_a_position_does_not_depend_on_how_one_came_there(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents, "PIECE", 300)
    opened = splitter(make(tmp_path))
    every = list(opened.parts())
    assert len(every) > 20
    assert [part.at for part in every] == sorted({part.at for part in every})
    for place in (0, 1, 7, len(every) // 2, len(every) - 1):
        assert list(opened.parts(every[place].at)) == every[place + 1 :]


def test_a_limit_is_shared_out_where_text_is_cut(tmp_path: Path):
    quotas = splitter(write_text(tmp_path / "a.txt")).quotas(1000)
    assert quotas == {"train": 900, "validation": 50, "test": 50}
    assert splitter(write_jsonl(tmp_path / "a.jsonl")).quotas(1000) is None


def test_full_splits_are_left_out(tmp_path: Path):
    parts = list(
        splitter(write_text(tmp_path / "a.txt")).parts(full=lambda split: split == "train")
    )
    assert {part.split for part in parts} == {"validation", "test"}
    assert not list(
        splitter(write_jsonl(tmp_path / "a.jsonl")).parts(
            Position(0, 30, 0), full=lambda split: True
        )
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "a.txt: the file is empty"),
        ("a.txt", b"one\ntwo\n\xff\xfe", "a.txt:3: this is no UTF-8 text"),
        ("a.bin", b"one\n\0\1", "a.bin:2: this is a binary file"),
        ("a.jsonl", b'{"text": "one"}\n\n{"text"\n', "a.jsonl:3: this line is no JSON"),
        ("a.jsonl", b'{"text": "one"}\n[1]\n', "a.jsonl:2: this line is no JSON object"),
        (
            "a.jsonl",
            b'{"tekst": "one"}\n',
            (
                "a.jsonl:1: there is no field `text`; name the field of the text with --field; did"
                " you mean `tekst`?"
            ),
        ),
        ("a.jsonl", b'{"text": 5}\n', "a.jsonl:1: the field `text` holds int, not text"),
        ("a.jsonl", b"\xff\n", "a.jsonl:1: this line is no JSON"),
        (
            "a.parquet",
            b"PAR1 and nothing more",
            "a.parquet: this is no Parquet file that can be read",
        ),
    ],
)
def test_what_can_not_be_read_is_named(name: str, content: bytes, says: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        list(source(tmp_path / name).pieces("train", 0))
    assert says in str(raised.value)
    assert raised.value.cure


def test_a_column_that_is_none_is_named(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", ["one"], column="content")
    with pytest.raises(UserError, match=r"a\.parquet: there is no column `text`"):
        list(source(path).pieces("train", 0))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shakespear", "there is no corpus `shakespear`.*did you mean `shakespeare`"),
        ("missing.txt", "there is no corpus `missing.txt`"),
        ("texts/missing.jsonl", "there is no corpus `texts/missing.jsonl`"),
    ],
)
def test_a_corpus_that_is_none(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        open_source(Corpus(source=name), tmp_path)


def test_a_folder_without_text(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="no file of this folder is text"):
        open_source(Corpus(source=str(tmp_path)), tmp_path)


def test_a_stream_wants_a_limit(tmp_path: Path):
    with pytest.raises(UserError, match="--limit"):
        open_source(Corpus(source="smollm"), tmp_path)


def test_another_text_is_not_tiny_shakespeare(tmp_path: Path):
    (tmp_path / "downloads").mkdir()
    write_text(tmp_path / "downloads" / "shakespeare.txt", 10)
    with pytest.raises(
        UserError, match=r"shakespeare\.txt: this is not the text of tiny Shakespeare"
    ):
        open_source(Corpus(source="shakespeare"), tmp_path)
