"""Files that are not what they are taken for."""

import bz2
import gzip
import json
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.data.prose import SMALL, prose, write_jsonl, write_text
from tests.data.test_text_corpora import source, texts, write_parquet

from scalelab.core.errors import UserError
from scalelab.data.spec import Bytes, Corpus
from scalelab.data.text import documents
from scalelab.data.text.kinds import HEAD
from scalelab.data.text.prepare import prepare

ROWS = [prose(20, number) for number in range(60)]
LIST = json.dumps([{"text": row} for row in ROWS])
LINES = "".join(json.dumps({"text": row}) + "\n" for row in ROWS)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.NDJSON"])
def test_a_list_of_rows_is_read_as_rows(
    tmp_path: Path, name: str, indent: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents, "_CHUNK", 7)  # a row, and a letter, may lie in several
    rows = [*ROWS[:20], None, "", 'a "quote", [brackets] \\ and 漢字\n', "\ud800"]
    path = tmp_path / name
    content = json.dumps([{"id": 1.5e3, "text": row} for row in rows], indent=indent)
    path.write_text(f"\ufeff \n{content}\n", encoding="utf-8")
    opened = source(path)
    assert texts(opened.pieces("train", 0)) == [row or "" for row in rows]
    assert opened.share == 1.0
    later = [piece.text for piece in opened.pieces("train", 15) if piece.document >= 15]
    assert later == [row or "" for row in rows[15:]]


def test_rows_are_the_same_in_every_form(tmp_path: Path):
    (tmp_path / "list.json").write_text(LIST)
    (tmp_path / "lines.json").write_text(LINES)
    (tmp_path / "lines.jsonl").write_text(LINES)
    write_parquet(tmp_path / "rows.txt", [*ROWS])  # its content says that it is Parquet
    for path in sorted(tmp_path.iterdir()):
        assert texts(source(path).pieces("train", 0)) == ROWS
    (tmp_path / "empty.json").write_text("[ ]")
    assert texts(source(tmp_path / "empty.json").pieces("train", 0)) == []


def test_a_long_row_is_read_in_few_steps(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "x" * (1 << 22)}] * 2))
    assert [len(text) for text in texts(source(path).pieces("train", 0))] == [1 << 22] * 2


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ('[{"text": "a"},\n {"body": "b"}]', 2, "no field `text`"),
        ('[{"text": "a"},\n {"text": 3}]', 2, "holds int"),
        ('["a", "b"]', 1, "no JSON object"),
        ("[1, 2]", 1, "no JSON object"),
        ('[{"text": "a"}\n {"text": "b"}]', 2, "comma"),
        ('[{"text": "a"},\n\n', 3, "no JSON"),
        ('[{"text": "a"}', 1, "cut short"),
        ('[{"text": "a"}, {"text": "cut', 1, "no JSON"),
        ('[{"text": "a"}]\n[]', 2, "follows"),
        ("[" * 100_000, 1, "deep|no JSON"),
        ('[{"text": "a\nb"}]', 1, "no JSON"),
        ('{"text": "a"}\n[[1]]\n', 2, "no JSON object"),
        ('{"text":\n "a"}\n', None, "one JSON object on many lines"),
        ("once upon a time\n", 1, "no JSON"),
    ],
)
def test_json_that_holds_no_rows_is_refused(
    tmp_path: Path, content: str, line: int | None, said: str
):
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said) as raised:
        texts(source(path).pieces("train", 0))
    assert raised.value.where == (f"{path}:{line}" if line else str(path))


def test_a_line_of_many_brackets_is_no_fault(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n' + "[" * 100_000)
    with pytest.raises(UserError, match=r"jsonl:2.*no JSON"):
        texts(source(path).pieces("train", 0))


def tar(path: Path) -> None:
    write_text(path.with_name("inner"))
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("inner"))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", prose(20))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(gzip.compress(LINES.encode())), "gzip"),
        (lambda path: path.write_bytes(bz2.compress(LINES.encode())), "bzip2"),
        (lambda path: path.write_bytes(lzma.compress(LINES.encode())), "xz"),
        (zipped, "zip"),
        (tar, "tar"),
        (lambda path: path.write_bytes(b"%PDF-1.7\n"), "PDF"),
        (lambda path: path.write_text(prose(20), encoding="utf-16"), "UTF-16"),
        (lambda path: path.write_text(prose(20), encoding="utf-32"), "UTF-32"),
        (lambda path: path.write_text("<!DOCTYPE html>\n<p>404</p>"), "HTML"),
        (lambda path: path.write_text(LINES), "JSON"),
        (lambda path: path.write_text(LIST), "JSON"),
        (lambda path: path.write_text('{"content": "once"}\n'), "JSON.*--field"),
        (lambda path: path.write_text('{\n "content": "once"\n}\n'), "JSON"),
        (lambda path: path.write_text('[\n {"content": 3},\n 4]'), "JSON"),
        (lambda path: path.write_text(json.dumps({"content": "x" * HEAD})), "JSON"),
        (lambda path: path.write_text('<?xml version="1.0"?>\n<a>once</a>\n'), "XML"),
        (lambda path: path.write_text("id,text\n1,once upon a time\n"), "table"),
        (lambda path: path.write_text('"text"\t"label"\r\nonce\t1\r\n'), "table"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs"),
    ],
)
def test_what_is_no_text_is_named_whatever_its_name(tmp_path: Path, write, said: str):
    for name in ("corpus.txt", "corpus", "corpus.gz"):
        write(tmp_path / name)
        with pytest.raises(UserError, match=said) as raised:
            source(tmp_path / name)
        assert raised.value.where == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "said"), [("a.csv", "table"), ("a.TSV", "table"), ("a.html", "HTML"), ("a.xml", "XML")]
)
def test_the_name_tells_too(tmp_path: Path, name: str, said: str):
    (tmp_path / name).write_text("once upon a time\n")
    with pytest.raises(UserError, match=said):
        source(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "[Scene 1] Enter a ghost\n",
        "{curly} beginnings are no JSON\n",
        "{} is an empty set\n",
        '{"a": 1} is no JSON\n',
        '["a", "b"]\n',
        "The word, text, matters\nand so on\n",
        "once,upon,a\ntime\n",
        '<mediawiki xmlns="http://www.mediawiki.org/">\n',
        "PK is no archive\n",
        "x" * (2 * HEAD),
    ],
)
def test_text_that_only_begins_like_something_else_stays_text(tmp_path: Path, text: str):
    (tmp_path / "corpus.txt").write_text(text)
    assert texts(source(tmp_path / "corpus.txt").pieces("train", 0)) == [text]


def test_a_refused_corpus_writes_nothing(tmp_path: Path):
    (tmp_path / "a.csv").write_text("id,text\n1,once\n")
    (tmp_path / "b.jsonl").write_text('{"content": "once"}\n')
    write_parquet(tmp_path / "c.parquet", ["once"])
    for name, field in (("a.csv", "text"), ("b.jsonl", "text"), ("c.parquet", "content")):
        corpus = Corpus(source=str(tmp_path / name), field=field)
        with pytest.raises(UserError):
            prepare(corpus, Bytes(), str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_a_folder_is_judged_as_its_files_are(tmp_path: Path):
    (tmp_path / "a.txt").write_text("once upon a time\n")
    (tmp_path / "b.txt").write_text('{"content": "once"}\n')
    with pytest.raises(UserError, match="JSON") as raised:
        source(tmp_path)
    assert raised.value.where == str(tmp_path / "b.txt")


def test_a_device_is_no_corpus(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("/dev/zero", str(tmp_path / "pipe.txt")):
        with pytest.raises(UserError, match="neither a file nor a folder"):
            prepare(Corpus(source=name), Bytes(), str(tmp_path / "out"))


def test_a_folder_says_what_it_leaves_out(tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.json").write_text(LIST)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    with pytest.raises(UserError, match=re.escape(".gz, .json are not read")):
        source(folder)
    write_jsonl(folder / "c.jsonl")
    told: list[str] = []
    corpus = Corpus(source=str(folder))
    prepare(
        corpus, Bytes(), str(tmp_path / "out"), lambda one: told.append(one.doing), layout=SMALL
    )
    assert told[0] == "reading the text, without .gz, .json files"
