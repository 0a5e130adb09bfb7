"""Where text comes from: local files, corpora with a name, and data sets of the Hugging
Face hub.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from scalelab.core.errors import UserError, nearest
from scalelab.core.files import replacing
from scalelab.data.spec import TALES, Corpus
from scalelab.data.text import documents
from scalelab.data.text.documents import Piece
from scalelab.data.text.manifest import SplitName
from scalelab.data.text.origin import (
    NAMES,
    OTHER_SUFFIXES,
    SUFFIXES,
    Origin,
    files,
    local,
    recorded,
)
from scalelab.data.text.tales import COUNT, tales

SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Source(Protocol):
    """Documents in an order that stays.

    Raises UserError, with the file and the line, for what can't be read.
    """

    splits: tuple[SplitName, ...]
    """The splits that the corpus comes with; `train` alone where it is to be split."""
    origin: Origin
    """The local files."""
    revision: str | None
    """The commit of a data set of the hub, where that is known."""
    endless: bool
    """Whether nothing is known of its size before it is read."""
    share: float
    """How much of it was read, from 0 to 1."""

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """The documents of a split, numbered from 0; the text of those before `start` may be left
        out.
        """
        ...


def open_source(corpus: Corpus, folder: Path, revision: str | None = None) -> Source:
    """The source of a corpus; what has to be downloaded as a whole lies in `folder` then.

    Raises UserError where there is none.

    `revision` is the commit that an earlier preparation read of the hub.
    """
    from scalelab.data.text.hub import SMOLLM, WIKITEXT, HubSource

    check_source(corpus)
    name = corpus.source
    if name == TALES:
        return TalesSource()
    if name == "shakespeare":
        return FileSource(
            {"shakespeare.txt": _shakespeare(_place(folder))},
            corpus.field,
        )
    if name == "wikitext103":
        return HubSource(WIKITEXT, "text", revision, articles=True)
    if name == "smollm":
        return HubSource(SMOLLM, "text", revision)
    path = local(corpus)
    if path is not None:
        return FileSource(files(path), corpus.field)
    return HubSource(name, corpus.field, revision)


def check_source(corpus: Corpus) -> None:
    """Raises UserError where a corpus is none, as far as that can be told at once: by its name, and
    by the first document of each of its files.
    """
    name, path = corpus.source, local(corpus)
    if name == "smollm" and corpus.tokens is None:
        raise UserError(
            "`smollm` is streamed, and has no end",
            cure="say how many tokens to prepare, such as --limit 100M",
        )
    if path is not None:
        found = files(path)
        for file in found.values():
            next(documents.read(file, corpus.field, 0, 0, lambda share: None), None)
        if not any(file.stat().st_size for file in found.values()):
            what = "the file is empty" if len(found) == 1 else "all files are empty"
            raise UserError(
                what, cure="name text to prepare", where=str(next(iter(found.values())))
            )
    elif name not in NAMES and not _is_on_hub(name):
        cure = (
            "name a file, a folder, or a data set of the hub as OWNER/NAME or OWNER/NAME@REVISION;"
            f" {nearest(name, list(NAMES))}"
        )
        raise UserError(f"there is no corpus `{name}`", cure=cure)


def _is_on_hub(name: str) -> bool:
    """Whether this may be the name of a data set, and is none of a file that is missing."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?(@[\w./-]+)?", name) is not None and Path(
        name
    ).suffix.lower() not in (*SUFFIXES, *OTHER_SUFFIXES)


class FileSource:
    """Local files, one after the other.

    A text file is one document, JSON and Parquet have one in each row.
    """

    splits: tuple[SplitName, ...] = ("train",)
    revision: str | None = None
    endless = False

    def __init__(self, paths: dict[str, Path], field: str) -> None:
        self._paths, self._field = paths, field
        self.origin = recorded(paths)
        self.share = 0.0

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """See `Source`."""
        assert split == "train", "local files come unsplit"
        number, before, total = 0, 0, sum(file.bytes for file in self.origin.values())
        for name, path in self._paths.items():
            size = self.origin[name].bytes

            def tell(share: float, before: int = before, size: int = size) -> None:
                self.share = (before + share * size) / total

            for piece in documents.read(path, self._field, number, start, tell):
                yield piece
                number = piece.document + piece.last
            before += size


class TalesSource:
    """The embedded corpus: every tale is a document."""

    splits: tuple[SplitName, ...] = ("train",)
    revision: str | None = None
    endless = False

    def __init__(self) -> None:
        self.origin: Origin = {}
        self.share = 0.0

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """See `Source`."""
        for number, text in enumerate(tales(start=start), start):
            yield Piece(number, text, True)
            self.share = (number + 1) / COUNT


def _shakespeare(path: Path) -> Path:
    """The file of tiny Shakespeare, downloaded unless it was before."""
    if not path.exists():
        content = _download(SHAKESPEARE, path)
        with replacing(path) as part:
            part.write_bytes(content)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHAKESPEARE_SHA256:
        raise UserError(
            "this is not the text of tiny Shakespeare",
            cure="delete it, and it is downloaded again",
            where=str(path),
        )
    return path


def is_downloaded(folder: Path) -> bool:
    """Whether tiny Shakespeare lies in a folder of prepared corpora, undamaged."""
    path = _place(folder)
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == SHAKESPEARE_SHA256


def _place(folder: Path) -> Path:
    return folder / "downloads" / "shakespeare.txt"


def _download(address: str, path: Path) -> bytes:
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=30) as answer:
            return answer.read()
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"tiny Shakespeare can't be downloaded from {address} ({reason})",
            cure=f"check the network, or put the file at {path}",
        ) from error
