"""Invented text for the tests of prepared corpora."""

import json
import random
from pathlib import Path

from scalelab.data.text.draft import Layout

SMALL = Layout(block=64, blocks=4)
"""Blocks and shards so small that a short text has many."""


_DRAW = random.Random(0)
_WORDS = [
    "".join(_DRAW.choices("abcdefghilmnoprstuvw", k=_DRAW.randint(1, 8))) for _ in range(200)
] + ["née", "漢字", "😀"]


def prose(words: int, seed: int = 0) -> str:
    """Lines of words, some with signs of several bytes, a few of them empty."""
    draw = random.Random(seed)
    between = draw.choices([" ", "\n", "\n\n"], [12, 2, 1], k=words)
    return "".join(map("".join, zip(draw.choices(_WORDS, k=words), between, strict=True)))


def write_text(path: Path, words: int = 2000, seed: int = 0) -> Path:
    """One document."""
    path.write_text(prose(words, seed), encoding="utf-8")
    return path


def write_jsonl(path: Path, documents: int = 400, words: int = 20) -> Path:
    """Many documents; one in fifty has no text."""
    rows = (
        {"id": number, "text": "" if number % 50 == 7 else prose(words, number)}
        for number in range(documents)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
