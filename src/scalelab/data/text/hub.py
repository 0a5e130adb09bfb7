"""Data sets of the Hugging Face hub (or a folder in their form), streamed: nothing of
them is kept.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from typing import Any

from scalelab.core.errors import UserError
from scalelab.data.text.documents import Piece, field_of, pieces
from scalelab.data.text.manifest import SPLITS, SplitName
from scalelab.data.text.origin import Origin

WIKITEXT = "Salesforce/wikitext:wikitext-103-raw-v1"
SMOLLM = "HuggingFaceTB/smollm-corpus:fineweb-edu-dedup"

_HEADING = re.compile(r" = [^=].*[^=] = \n?")


class HubSource:
    """A data set, `OWNER/NAME`, with `:CONFIGURATION` and `@REVISION` behind it as wanted (a
    branch, a tag or a commit).

    It keeps its own splits where it has train, validation and test. `revision`, a commit, is read
    instead of the one that the hub names.
    """

    endless = True
    share = 0.0

    def __init__(
        self, name: str, field: str, revision: str | None = None, *, articles: bool = False
    ) -> None:
        self._name, self._field, self._articles = name, field, articles
        self.origin: Origin = {}
        data_set, _, asked = name.partition("@")
        path, _, configuration = data_set.partition(":")
        self.revision = revision or _commit(path, asked or None)
        self._sets = _opened(name, path, configuration or None, self.revision or asked or None)
        if "train" not in self._sets:
            raise UserError(
                f"the data set `{name}` has no split `train` but {', '.join(self._sets)}",
                cure="take another one",
            )
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


def _opened(
    name: str, path: str, configuration: str | None, revision: str | None
) -> dict[str, Any]:
    """The splits of a data set, as streams."""
    if importlib.util.find_spec("datasets") is None:
        what = (
            f"`{name}` is read as a data set of the hub, which takes the library `datasets`, and"
            " that is not installed"
        )
        raise UserError(what, cure="pip install datasets, or name a file that is there")
    import datasets  # pyright: ignore[reportMissingImports]: it is asked for where it is needed

    try:
        found = datasets.load_dataset(path, configuration, revision=revision, streaming=True)
        return {str(split): rows for split, rows in found.items()}
    except Exception as error:  # no network, no such data set, no such configuration
        raise _unreachable(name, error) from error


def _commit(path: str, revision: str | None) -> str | None:
    """The commit that the hub has under a revision now; None where it does not say, as
    of a folder.
    """
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(path, revision=revision, timeout=30).sha
    except Exception:  # whoever loads the data set next says what is wrong
        return None


def _unreachable(name: str, error: Exception) -> UserError:
    what = (
        f"the hub's data set `{name}` can't be read ({type(error).__name__}:"
        f" {' '.join(str(error).split())[:200]})"
    )
    return UserError(what, cure="check its name and the network; the same command goes on")


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Articles of WikiText, whose rows are lines: one begins with a heading of the first level
    after an empty line.
    """
    article: list[str] = []
    for line in lines:
        if _HEADING.fullmatch(line) and (not article or not article[-1].strip()):
            if "".join(article).strip():
                yield "".join(article)
            article = []
        article.append(line)
    if "".join(article).strip():
        yield "".join(article)
