"""How fast text is prepared and how fast it is read, on one core.

    taskset -c 1 python benchmarks/loader.py
    SCALELAB_TEST_DATA=FOLDER taskset -c 1 python benchmarks/loader.py

The first takes invented text and a byte-level BPE trained on it, the second also real text with
GPT-2's vocabulary.

`prepare` counts bytes of text in UTF-8, from the file to the finished shards, the library's import
left out. `stream` is the training's own stream of batches, in the order of a shuffled pass. Random
blocks are read through the library's `MDSReader` (what we use), its `LocalDataset`, and its
`StreamingDataset`.
"""

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from scalelab.data.spec import Bytes, Corpus, HuggingFace, Tiktoken, Tokenizer
from scalelab.data.text import mds
from scalelab.data.text.asking import home_of
from scalelab.data.text.prepare import prepare
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.spec import Text

TOY = "SCALELAB_TOY" in os.environ
MB = 1e6
BLOCKS = 20 if TOY else 400
"""Read at random."""


def main() -> None:
    """Prepare corpora and read one; print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1 if TOY else 20, help="text to prepare")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30 if TOY else 3000)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()

    began = time.perf_counter()
    mds.load()
    print(f"import of the library: {time.perf_counter() - began:.1f} s")
    with TemporaryDirectory() as folder:
        tokenizers: dict[str, Tokenizer] = {
            "bytes": Bytes(),
            "a BPE of 8,192, its training counted in": HuggingFace(train=8192),
        }
        corpus, real = (
            invented(Path(folder) / "invented.txt", args.megabytes),
            os.environ.get("SCALELAB_TEST_DATA"),
        )
        for name, tokens in tokenizers.items():
            prepared(name, corpus, tokens, folder, args.workers)
        if real:
            corpus = repeated(Path(real), Path(folder) / "real.jsonl", args.megabytes)
            prepared(
                "GPT-2's vocabulary, real text",
                corpus,
                Tiktoken(folder=f"{real}/gpt2"),
                folder,
                args.workers,
            )
        task = Text(
            corpus=corpus,
            tokens=Tiktoken(folder=f"{real}/gpt2") if real else Bytes(),
            context=args.context,
        )
        streamed(task, folder, args.batch, args.steps)
        blocks(task, folder)


def invented(path: Path, megabytes: int) -> Corpus:
    """Lines of invented words, some frequent and most rare."""
    draw = random.Random(0)
    words = [
        "".join(draw.choices("etaoinshrdlucmfwypvbgk", k=draw.randint(1, 10)))
        for _ in range(20_000)
    ]
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    with path.open("w") as file:
        while file.tell() < megabytes * MB:
            file.writelines(
                " ".join(draw.choices(words, cum_weights=weights, k=12)) + ".\n"
                for _ in range(2000)
            )
    return Corpus(source=str(path))


def repeated(folder: Path, path: Path, megabytes: int) -> Corpus:
    """The paragraphs of the real texts, over and over, as documents."""
    files = [folder / "tinyshakespeare.txt", *sorted((folder / "wikitext2").glob("*.txt"))]
    paragraphs = [part for file in files for part in file.read_text().split("\n\n") if part.strip()]
    with path.open("w") as file:
        while file.tell() < megabytes * MB:
            file.writelines(json.dumps({"text": paragraph}) + "\n" for paragraph in paragraphs)
    return Corpus(source=str(path))


def prepared(name: str, corpus: Corpus, tokens: Tokenizer, folder: str, workers: int) -> None:
    """Prepare a corpus and say how fast."""
    began = time.perf_counter()
    made = prepare(corpus, tokens, folder, workers=workers)
    seconds = time.perf_counter() - began
    size, count = (
        sum(getattr(split, part) for split in made.splits.values()) for part in ("bytes", "tokens")
    )
    print(
        f"prepare, {name}: {size / MB / seconds:.2f} MB/s ({size / MB:.0f} MB, {count:,} tokens,"
        f" {seconds:.1f} s, {workers} processes)"
    )


def streamed(task: Text, folder: str, batch: int, steps: int) -> None:
    """Batches of a training, from the first on."""
    began = time.perf_counter()
    data = TextData(task, folder)
    stream = data.stream(0, batch)
    stream.at(0)
    first = time.perf_counter() - began
    seconds = []
    for step in range(1, steps):
        began = time.perf_counter()
        stream.at(step)
        seconds.append(time.perf_counter() - began)
    tokens, passes = batch * task.context, steps * batch / data.shape.sequences
    print(
        f"stream, context {task.context}, batch {batch}:"
        f" {tokens * len(seconds) / sum(seconds):,.0f} tokens/s over {passes:.1f} passes, median"
        f" batch {tokens / statistics.median(seconds):,.0f}, slowest {1e3 * max(seconds):.0f} ms;"
        f" opening and the first batch {1e3 * first:.0f} ms"
    )


def blocks(task: Text, folder: str) -> None:
    """The library's ways to read blocks at random."""
    from streaming import LocalDataset, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    place = home_of(task, folder)
    data = TextData(task, folder)
    shards = [
        (shard, number)
        for shard in data.manifest.splits["train"].shards
        for number in range(shard.blocks)
    ]
    local = LocalDataset(place, "train")
    order = np.random.default_rng(0).integers(0, len(shards), BLOCKS).tolist()
    opened: dict[str, Callable[[int], object]] = {
        "MDSReader": lambda number: data._shards.block(*shards[number]),
        "LocalDataset": local.__getitem__,
    }
    clean_stale_shared_memory()  # it has names of its own there
    streaming = StreamingDataset(local=place, split="train", shuffle=False, batch_size=1)
    opened["StreamingDataset"] = streaming.__getitem__
    for name, read in opened.items():
        read(0)
        began = time.perf_counter()
        for number in order:
            read(number)
        seconds = time.perf_counter() - began
        print(
            f"blocks at random, {name}: {data.manifest.block * len(order) / seconds:,.0f} tokens/s"
        )


if __name__ == "__main__":
    main()
