"""Text from shards: prepared once, read by every trial."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import Unreadable, UserError
from scalelab.core.locations import is_url
from scalelab.core.seeds import derive
from scalelab.data.spec import TALES
from scalelab.data.text.asking import home_of
from scalelab.data.text.manifest import Manifest, changed, find
from scalelab.data.text.origin import is_same
from scalelab.data.text.reading import Running, Shards
from scalelab.data.text.tales import nats
from scalelab.data.text.windows import Stream, count
from scalelab.tasks.task import TaskShape
from scalelab.tasks.text.objectives import targets
from scalelab.tasks.text.spec import Masked, Text

if TYPE_CHECKING:
    from scalelab.data.text.tokenizers import Tokenizer


def describe(task: Text, folder: str) -> TaskShape:
    """The sizes of a task, read from the manifest of its corpus in `folder`, a path or a URL.

    Raises NotPrepared where the corpus is not there, UserError where a split is shorter than one
    context, or where the corpus's file is on this machine and is not what was prepared. A task that
    names its shards is about those, whatever became of the file.
    """
    found = find(task, folder)
    if task.shards is None and not is_same(task.corpus, found.origin, whole=False):
        raise changed(task.corpus, task.tokens, folder, home_of(task, folder))
    return shape(task, found)


def shape(task: Text, manifest: Manifest) -> TaskShape:
    """The sizes of a task on a prepared corpus."""
    for name, split in manifest.splits.items():
        if not count(split.tokens, task.context):
            what = (
                f"the {name} split of `{task.corpus.source}` has {split.tokens:,} tokens, too few"
                f" for a context of {task.context:,}"
            )
            raise UserError(
                what,
                cure=(
                    "take a shorter `task.context`, a longer corpus, or another"
                    " `task.corpus.validation`"
                ),
            )
    return TaskShape(
        vocab=manifest.vocab + isinstance(task.objective, Masked),
        context=task.context,
        facts=0,
        sequences=float(count(manifest.splits["train"].tokens, task.context)),
        targets=targets(task),
        mean_tokens=float(task.context),
        shards=manifest.digest,
    )


class TextData:
    """The text of a task, from shards in a folder or at a URL.

    Under the masked objective the mask token is the last one.

    Raises what `describe` does, and Unreadable where a shard is missing or damaged.
    """

    def __init__(self, task: Text, folder: str) -> None:
        self.task = task
        self.manifest = find(task, folder)
        self.shape = shape(task, self.manifest)
        self._home = home_of(task, folder)
        self._running: dict[str, Running] = {}

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of the corpus.

        Raises Unreadable where it is not the one that the shards were made with.
        """
        from scalelab.data.text.tokenizers import is_trained, open_tokenizer

        is_ours = is_trained(self.manifest.tokens) and not is_url(self._home)
        home = self._home if is_ours else ""
        try:
            found = open_tokenizer(self.manifest.tokens, self._home)
        except UserError as fault:
            raise Unreadable(fault.what, cure=fault.cure, where=fault.where, home=home) from fault
        if found.digest != self.manifest.tokenizer:
            what = (
                f"the shards were made with another tokenizer ({self.manifest.tokenizer[:10]}, and"
                f" this one is {found.digest[:10]})"
            )
            cure = "bring that one back, or delete the folder and prepare it again"
            raise Unreadable(what, cure=cure, where=self._home, home=home)
        return found

    def stream(self, seed: int, batch: int) -> Stream:
        """The windows of training under a seed."""
        return Stream(self._text("train"), self.task.context, derive(seed, "text"), batch)

    def held_out(
        self, split: Literal["validation", "test"], limit: int | None = None
    ) -> npt.NDArray[np.int32]:
        """The windows of a held-out split, [R, T + 1]; where there are more than `limit`, that
        many, evenly spread.
        """
        running = self._text(split)
        windows = count(running.tokens, self.task.context)
        rows = windows if limit is None else min(limit, windows)
        return running.windows(
            np.arange(rows) * windows // rows * self.task.context, self.task.context + 1
        )

    def bytes_per_token(self, split: Literal["train", "validation", "test"]) -> float:
        """Bytes of text that a token of a split stands for, on average; ends of documents count as
        tokens.
        """
        return self.manifest.splits[split].bytes / self.manifest.splits[split].tokens

    def floor(self, split: Literal["train", "validation", "test"]) -> float | None:
        """Nats of a token of this split under the grammar that wrote it, ends of documents counted
        as tokens: no model can expect a lower loss.

        None where no grammar is known.
        """
        if self.task.corpus.source != TALES:
            return None
        running = self._text(split)
        [tokens] = running.windows(np.zeros(1, np.int64), running.tokens)
        ends = np.flatnonzero(tokens == self.manifest.eos)
        texts = (self.tokenizer.decode(part) for part in np.split(tokens[: ends[-1]], ends[:-1]))
        return sum(map(nats, texts)) / float(ends[-1] + 1)

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self._home, self.manifest)

    def _text(self, split: Literal["train", "validation", "test"]) -> Running:
        if split not in self._running:
            self._running[split] = Running(self._shards, self.manifest, split)
        return self._running[split]

    def questions_with_answers(self) -> list[tuple[str, str]]:
        """None: running text has no right answers."""
        return []


def build(task: Text, folder: str) -> TextData:
    """The data of a task."""
    return TextData(task, folder)
