"""Text to tokens, in this process or in several."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import NamedTuple

import numpy as np

from scalelab.data import spec
from scalelab.data.text.manifest import SplitName
from scalelab.data.text.mds import Tokens, dtype_of
from scalelab.data.text.splitting import Part, Position
from scalelab.data.text.tokenizers import Tokenizer, open_tokenizer
from scalelab.data.text.tokenizers.protocol import well_formed

BATCH = 1 << 19
"""Characters, about, that are encoded at once."""

_PARTS = 1 << 12
_ALONE = 8
"""Batches that are encoded here before other processes are started: a small corpus is ready by
then.
"""

_AHEAD = 2


class Encoded(NamedTuple):
    """Tokens of some text of a split; `bytes` are those of the text."""

    at: Position
    split: SplitName
    tokens: Tokens
    bytes: int
    last: bool


def encoded(
    parts: Iterable[Part], tokenizer: Tokenizer, given: spec.Tokenizer, home: str, workers: int
) -> Iterator[list[Encoded]]:
    """The parts' tokens, documents ended, in the order of the parts, whatever the number of worker
    processes.
    """
    batches = _batches(parts)
    for batch in islice(batches, _ALONE if workers > 1 else None):
        yield _encode(tokenizer, batch)
    first = list(islice(batches, 1))
    if not first:
        return
    # Spawned: a forked copy of a process that has threads (Ray's, Rust's) may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _follow)
    waiting: deque[Future[list[Encoded]]] = deque()
    try:
        for batch in chain(first, batches):
            waiting.append(pool.submit(_encode_there, given, home, batch))
            if len(waiting) > workers * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # an interrupted preparation does not wait for what is not begun
        pool.shutdown(cancel_futures=True)


def _follow() -> None:
    """Let a worker process end with its parent, and leave an interrupt to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this is no worker"
    parent.join()
    os._exit(0)


def _encode_there(given: spec.Tokenizer, home: str, batch: list[Part]) -> list[Encoded]:
    return _encode(_opened(given, home), batch)  # pyright: ignore[reportArgumentType]: pydantic hashes what is frozen


@lru_cache(maxsize=1)
def _opened(given: spec.Tokenizer, home: str) -> Tokenizer:
    """The tokenizer of a worker process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    return open_tokenizer(given, home)


def _encode(tokenizer: Tokenizer, batch: list[Part]) -> list[Encoded]:
    dtype, end = dtype_of(tokenizer.vocab), [tokenizer.eos]
    texts = [well_formed(part.text) for part in batch]
    return [
        Encoded(
            part.at,
            part.split,
            np.concatenate([ids, end]).astype(dtype) if part.last else ids.astype(dtype),
            len(text.encode()),
            part.last,
        )
        for part, text, ids in zip(batch, texts, tokenizer.encode_batch(texts), strict=True)
    ]


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    batch: list[Part] = []
    size = 0
    for part in parts:
        batch.append(part)
        size += len(part.text)
        if size >= BATCH or len(batch) >= _PARTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
