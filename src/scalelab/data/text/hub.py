"""Data sets of the Hugging Face hub (or a folder in their form), streamed: nothing of them is kept."""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from typing import Any

from scalelab.core.errors import UserError
from scalelab.data.text.documents import Piece, field_of, pieces
from scalelab.data.text.manifest import SPLITS, SplitName

WIKITEXT = "Salesforce/wikitext:wikitext-103-raw-v1"
SMOLLM = "HuggingFaceTB/smollm-corpus:fineweb-edu-dedup"

_HEADING = re.compile(r" = [^=].*[^=] = \n?")


class HubSource:
    """A data set, `OWNER/NAME` or `OWNER/NAME:CONFIGURATION`. It keeps its own splits where it has train, validation and test."""

    endless = True
    share = 0.0

    def __init__(self, name: str, field: str, *, articles: bool = False) -> None:
        self._name, self._field, self._articles = name, field, articles
        self.origin: dict[str, int] = {}
        self._sets = _opened(name)
        if "train" not in self._sets:
            raise UserError(f"the data set `{name}` has no split `train` but {', '.join(self._sets)}", cure="take another one")
        self.splits = SPLITS if all(split in self._sets for split in SPLITS) else ("train",)

    def pieces(self, split: SplitName, start: int) -> Iterator[Piece]:
        """See `Source`."""
        rows: Iterable[dict[str, Any]] = self._sets[split]
        number = 0
        if not self._articles and start:
            rows, number = self._sets[split].skip(start), start
        texts = self._texts(rows, split)
        for document, text in enumerate(_joined(texts) if self._articles else texts, start=number):
            yield from pieces(document, [text])

    def _texts(self, rows: Iterable[dict[str, Any]], split: SplitName) -> Iterator[str]:
        try:
            for row in rows:
                yield field_of(row, self._field, f"{self._name} ({split})")
        except UserError:
            raise
        except Exception as error:  # the library and its network have many
            raise _unreachable(self._name, error) from error


def _opened(name: str) -> dict[str, Any]:
    """The splits of a data set, as streams."""
    if importlib.util.find_spec("datasets") is None:
        what = f"`{name}` is read as a data set of the hub, which takes the library `datasets`, and that is not installed"
        raise UserError(what, cure="pip install datasets, or name a file that is there")
    import datasets  # pyright: ignore[reportMissingImports]: it is asked for where it is needed

    path, _, configuration = name.partition(":")
    try:
        return dict(datasets.load_dataset(path, configuration or None, streaming=True))
    except Exception as error:  # no network, no such data set, no such configuration
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> UserError:
    what = f"the hub's data set `{name}` can't be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return UserError(what, cure="check its name and the network; the same command goes on")


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Articles of WikiText, whose rows are lines: one begins with a heading of the first level after an empty line."""
    article: list[str] = []
    for line in lines:
        if _HEADING.fullmatch(line) and (not article or not article[-1].strip()):
            if "".join(article).strip():
                yield "".join(article)
            article = []
        article.append(line)
    if "".join(article).strip():
        yield "".join(article)
