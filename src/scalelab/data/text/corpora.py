"""Where text comes from: local files, corpora with a name, and data sets of the Hugging Face hub."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from scalelab.core.errors import UserError, nearest
from scalelab.data.text import documents
from scalelab.data.text.documents import Piece
from scalelab.data.text.manifest import SplitName
from scalelab.spec.text import Corpus

SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".parquet")
"""Files that are read of a folder."""

NAMES = ("shakespeare", "smollm", "wikitext103")

SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Source(Protocol):
    """Documents in an order that stays. Raises UserError, with the file and the line, for what can't be read."""

    splits: tuple[SplitName, ...]
    """The splits that the corpus comes with; `train` alone where it is to be split."""
    origin: dict[str, int]
    """Bytes of each local file."""
    endless: bool
    """Whether nothing is known of its size before it is read."""
    share: float
    """How much of it was read, from 0 to 1."""

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """The documents of a split, numbered from 0; the text of those before `start` may be left out."""
        ...


def open_source(corpus: Corpus, folder: Path) -> Source:
    """The source of a corpus; what has to be downloaded as a whole lies in `folder` then. Raises UserError where there is none."""
    from scalelab.data.text.hub import SMOLLM, WIKITEXT, HubSource

    name = corpus.source
    if name == "shakespeare":
        return FileSource([_shakespeare(folder / "downloads" / "shakespeare.txt")], corpus.field)
    if name == "wikitext103":
        return HubSource(WIKITEXT, "text", articles=True)
    if name == "smollm":
        if corpus.tokens is None:
            raise UserError("`smollm` is streamed, and has no end", cure="say how many tokens to prepare, such as --limit 100M")
        return HubSource(SMOLLM, "text")
    path = Path(name).expanduser()
    if path.exists():
        return FileSource(_files(path), corpus.field)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", name) and path.suffix.lower() not in SUFFIXES:
        return HubSource(name, corpus.field)
    cure = f"name a file, a folder, or a data set of the hub as OWNER/NAME; {nearest(name, list(NAMES))}"
    raise UserError(f"there is no corpus `{name}`", cure=cure)


class FileSource:
    """Local files, one after the other. A text file is one document, JSONL and Parquet have one in each row."""

    splits: tuple[SplitName, ...] = ("train",)
    endless = False

    def __init__(self, paths: list[Path], field: str) -> None:
        self._paths, self._field = paths, field
        self.origin = {str(path): path.stat().st_size for path in paths}
        self.share = 0.0
        if not sum(self.origin.values()):
            raise UserError(
                "the file is empty" if len(paths) == 1 else "all files are empty", cure="name text to prepare", where=str(paths[0])
            )

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """See `Source`."""
        assert split == "train", "local files come unsplit"
        number, before, total = 0, 0, sum(self.origin.values())
        for path in self._paths:
            size = self.origin[str(path)]

            def tell(share: float, before: int = before, size: int = size) -> None:
                self.share = (before + share * size) / total

            for piece in documents.read(path, self._field, number, start, tell):
                yield piece
                number = piece.document + piece.last
            before += size


def origin(corpus: Corpus) -> dict[str, int] | None:
    """The files of a corpus that lies on this machine, with their bytes; None for others."""
    path = Path(corpus.source).expanduser()
    return FileSource(_files(path), corpus.field).origin if corpus.source not in NAMES and path.exists() else None


def _files(path: Path) -> list[Path]:
    """A file, or those of a folder and what is in it, by name."""
    if not path.is_dir():
        return [path]
    found = sorted(inner for inner in path.rglob("*") if inner.suffix.lower() in SUFFIXES and inner.is_file())
    if not found:
        raise UserError("no file of this folder is text", cure=f"put {', '.join(SUFFIXES)} files there", where=str(path))
    return found


def _shakespeare(path: Path) -> Path:
    """The file of tiny Shakespeare, downloaded unless it was before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _download(SHAKESPEARE, path)
        half = path.with_suffix(".half")
        half.write_bytes(content)
        half.replace(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHAKESPEARE_SHA256:
        raise UserError("this is not the text of tiny Shakespeare", cure="delete it, and it is downloaded again", where=str(path))
    return path


def _download(address: str, path: Path) -> bytes:
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=30) as answer:
            return answer.read()
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"tiny Shakespeare can't be downloaded from {address} ({reason})", cure=f"check the network, or put the file at {path}"
        ) from error
